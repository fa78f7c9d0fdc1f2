/* SPDX-License-Identifier: Apache-2.0 */
/*
 * silent_file - a server of FUSE that leaves FLUSH unanswered
 */
#include "system/silent_file.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/broker_fixture.h"

enum { REQUEST_BYTES = 1 << 17, FUSE_MINOR = 31, PAGE_BYTES = 4096 };

/* body NULL: there is no such thing. */
static void answer(int device, uint64_t unique, const void *body, size_t bytes)
{
	char message[256];
	struct fuse_out_header header = { .len = (uint32_t)(sizeof(header) + bytes),
					  .unique = unique, .error = body ? 0 : -ENOSYS };

	memcpy(message, &header, sizeof(header));
	if (body)
		memcpy(message + sizeof(header), body, bytes);
	CLIENT_EXPECT_EQ(write(device, message, header.len), header.len);
}

static void serve(int device)
{
	static char request[REQUEST_BYTES];
	const struct fuse_in_header *in = (const void *)request;

	while (read(device, request, sizeof(request)) > 0) {
		struct fuse_init_out init = { .major = FUSE_KERNEL_VERSION, .minor = FUSE_MINOR,
					      .max_write = PAGE_BYTES };
		struct fuse_attr_out attr = { .attr = { .ino = 1, .size = PAGE_BYTES, .nlink = 1,
							.mode = S_IFREG | 0644 } };
		struct fuse_open_out opened = { .fh = 1 };

		if (in->opcode == FUSE_INIT)
			answer(device, in->unique, &init, sizeof(init));
		else if (in->opcode == FUSE_GETATTR)
			answer(device, in->unique, &attr, sizeof(attr));
		else if (in->opcode == FUSE_OPEN)
			answer(device, in->unique, &opened, sizeof(opened));
		else if (in->opcode != FUSE_FLUSH && in->opcode != FUSE_FORGET &&
			 in->opcode != FUSE_INTERRUPT && in->opcode != FUSE_RELEASE)
			answer(device, in->unique, NULL, 0);
	}
}

bool silent_file_is_possible(void)
{
	return !geteuid() && !access("/dev/fuse", R_OK | W_OK);
}

void silent_file_make(struct silent_file *f)
{
	int device = open("/dev/fuse", O_RDWR | O_CLOEXEC), fd;
	char options[128];

	strcpy(f->path, "/tmp/mmb-test-silent-XXXXXX");
	fd = mkstemp(f->path);
	CLIENT_EXPECT(device >= 0 && fd >= 0);
	close(fd);
	snprintf(options, sizeof(options), "fd=%d,rootmode=100644,user_id=0,group_id=0", device);
	CLIENT_EXPECT_EQ(mount("none", f->path, "fuse", 0, options), 0);
	f->server = fork();
	if (!f->server) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		serve(device);
		_exit(0);
	}
	close(device);
}

void silent_file_end(struct silent_file *f)
{
	kill(f->server, SIGKILL);
	waitpid(f->server, NULL, 0);
	umount2(f->path, MNT_DETACH);
	unlink(f->path);
}

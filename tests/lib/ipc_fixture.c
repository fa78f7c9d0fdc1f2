/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ipc_fixture - starts, connects, and checks what is left
 *
 * Locking     one case at a time.
 */
#include "lib/ipc_fixture.h"

#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"
#include "lib/descriptors.h"
#include "lib/phys_fixture.h"
#include "lib/test.h"

void ipc_fixture_init(struct ipc_fixture *f)
{
	log_set_level(LOG_CRIT);
	fake_verbs_reset();
	objects_boot();
	f->nr_descriptors = open_descriptors();
	strcpy(f->folder, "/tmp/mmb-test-ipc-XXXXXX");
	EXPECT(mkdtemp(f->folder) != NULL);
	snprintf(f->path, sizeof(f->path), "%s/socket", f->folder);
	server_options_init(&f->options);
	f->options.path = f->path;
	f->server = NULL;
}

void ipc_fixture_start(struct ipc_fixture *f)
{
	char error[SERVER_ERROR_BYTES] = "";
	int  code = server_start(&f->options, &f->server, error);

	if (code)
		printf("  server_start: %d %s\n", code, error);
	EXPECT_EQ(code, 0);
}

static bool descriptors_are_back(void *arg)
{
	const struct ipc_fixture *f = arg;

	return open_descriptors() == f->nr_descriptors;
}

void ipc_fixture_fini(struct ipc_fixture *f)
{
	if (f->server)
		server_stop(f->server, "the test is over", 0);
	f->server = NULL;
	EXPECT_EQ(fake_counts.sessions_ended, fake_counts.sessions_new);
	EXPECT_EQ(fake_counts.sessions_freed, fake_counts.sessions_new);
	/* What strangers sent is closed by a thread of its own. */
	EXPECT(test_wait(descriptors_are_back, f, 20));
	EXPECT_EQ(rmdir(f->folder), 0);
	objects_shutdown();
}

void ipc_fixture_connect(struct ipc_fixture *f, struct wire_client *c)
{
	int pair[2];

	EXPECT_EQ(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
	wire_client_init(c, pair[1]);
	EXPECT_EQ(server_adopt(f->server, pair[0]), 0);
}

void ipc_fixture_session(struct ipc_fixture *f, struct wire_client *c)
{
	ipc_fixture_connect(f, c);
	EXPECT_EQ(wire_client_hello(c, "test", false), 0);
}

struct awaited {
	const atomic_uint *counter;
	unsigned int       value;
};

static bool has_reached(void *arg)
{
	const struct awaited *a = arg;

	return atomic_load(a->counter) >= a->value;
}

bool ipc_wait_count(const atomic_uint *counter, unsigned int value)
{
	struct awaited a = { counter, value };

	return test_wait(has_reached, &a, 20);
}

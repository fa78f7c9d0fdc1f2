/* SPDX-License-Identifier: Apache-2.0 */
/* loop_disk - see loop_disk.h */
#include "system/loop_disk.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "lib/test.h"
#include "system/stage.h"

char loop_folder[64], loop_device[64];

static const char *mounted;
static pid_t owner;

int loop_run(const char *format, ...)
{
	char command[1000];
	va_list args;

	va_start(args, format);
	vsnprintf(command, sizeof(command), format, args);
	va_end(args);
	return system(command);
}

void loop_end(void)
{
	if (getpid() != owner || !loop_folder[0])
		return;
	if (loop_device[0])
		loop_run("losetup -d %s", loop_device);
	loop_run("umount -l %s/%s 2>/dev/null; rm -rf %s", loop_folder, mounted, loop_folder);
	loop_device[0] = loop_folder[0] = 0;
}

void loop_begin(const char *mount)
{
	need_root("loop devices");
	if (loop_run("command -v losetup mount >/dev/null"))
		SKIP("no losetup or mount here");
	owner = getpid();
	mounted = mount;
	snprintf(loop_folder, sizeof(loop_folder), "/tmp/mmb-loop-%d", (int)owner);
	atexit(loop_end);
	EXPECT_EQ(loop_run("mkdir -m 700 %s", loop_folder), 0);
}

void loop_attach(const char *options)
{
	char command[160];
	FILE *answer;

	snprintf(command, sizeof(command), "losetup --show %s -f %s/disk", options, loop_folder);
	answer = popen(command, "r");
	EXPECT(answer);
	if (fscanf(answer, "%63s", loop_device) != 1)
		loop_device[0] = 0;
	pclose(answer);
	if (!loop_device[0])
		SKIP("no loop device can be had");
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_fault_log - logs made ahead: so many and no more, each for one session
 */
#include "client/fault_log.h"

#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/test.h"

static ino_t inode_of(int fd)
{
	struct stat file;

	EXPECT_EQ(fstat(fd, &file), 0);
	return file.st_ino;
}

static void a_log_is_given_out_once(void)
{
	enum { READY = 2, LOGS = 5 };
	struct fault_log logs[LOGS];

	fault_logs_init();
	fault_logs_keep(READY);
	for (int i = 0; i < LOGS; i++) {
		EXPECT_EQ(fault_log_open(&logs[i]), 0);
		EXPECT_EQ(atomic_load(&logs[i].map->head), 0);
		atomic_store(&logs[i].map->head, 1); /* the next one who gets it would see that */
		for (int j = 0; j < i; j++)
			EXPECT(inode_of(logs[i].fd) != inode_of(logs[j].fd));
		fault_logs_refill();
	}
	for (int i = 0; i < LOGS; i++)
		fault_log_close(&logs[i]);
	fault_logs_fini();
}

static void a_client_can_only_read_it(void)
{
	struct fault_log log;

	fault_logs_init();
	EXPECT_EQ(fault_log_open(&log), 0);
	EXPECT(mmap(NULL, MMB_FAULT_LOG_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, log.fd, 0) ==
	       MAP_FAILED);
	EXPECT(ftruncate(log.fd, 0) != 0);
	fault_log_close(&log);
	fault_logs_fini();
}

static void nothing_is_kept_open_at_the_end(void)
{
	struct fault_log log;
	int before = dup(STDIN_FILENO), after;

	fault_logs_init();
	fault_logs_keep(FAULT_LOGS_READY_MAX + 100);
	EXPECT_EQ(fault_log_open(&log), 0);
	fault_log_close(&log);
	fault_logs_fini();
	close(before);
	after = dup(STDIN_FILENO);
	EXPECT_EQ(after, before);
	close(after);
}

static const struct test_case cases[] = {
	{ "a log is given out once", a_log_is_given_out_once },
	{ "a client can only read it", a_client_can_only_read_it },
	{ "nothing is kept open at the end", nothing_is_kept_open_at_the_end },
};

TEST_MAIN(cases)

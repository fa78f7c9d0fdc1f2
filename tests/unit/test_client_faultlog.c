/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_client_faultlog - reading the daemon's fault records
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "libclient/faultlog.h"
#include "libclient/process.h"
#include "tests/lib/test.h"

static _Alignas(64) union {
	struct mmb_fault_log log;
	uint8_t              page[MMB_FAULT_LOG_BYTES];
} memory;
static struct mmb_fault_log *const faults = &memory.log;

static void record(uint64_t address, uint64_t length, int number)
{
	uint64_t head = atomic_load(&faults->head);
	struct mmb_fault_record *r = &faults->records[head % MMB_FAULT_RECORDS];

	atomic_fetch_add(&r->seq, 1);
	r->error = -number;
	r->address = address;
	r->length = length;
	r->offset = 0x5000;
	snprintf(r->region, sizeof(r->region), "region%d", number);
	snprintf(r->cause, sizeof(r->cause), "cause %d", number);
	atomic_fetch_add(&r->seq, 1);
	atomic_store(&faults->head, head + 1);
}

static void begin(void)
{
	memset(&memory, 0, sizeof(memory));
}

static void the_newest_record_wins(void)
{
	struct mmb_fault_info info;

	begin();
	record(0x10000, 0x1000, 1);
	record(0x10000, 0x2000, 2);
	record(0x90000, 0x1000, 3);
	EXPECT(faultlog_find(faults, 0x10123, &info));
	EXPECT_EQ(info.error, -2);
	EXPECT_EQ(info.offset, 0x5123);
	EXPECT(!strcmp(info.region, "region2"));
	EXPECT(!strcmp(info.cause, "cause 2"));
	EXPECT(!faultlog_find(faults, 0x12000, &info));
	EXPECT(!faultlog_find(faults, 0xffff, &info));
}

static void old_records_are_overwritten(void)
{
	struct mmb_fault_info info;

	begin();
	for (int i = 0; i < MMB_FAULT_RECORDS + 3; i++)
		record(0x1000000 + (uint64_t)i * 0x1000, 0x1000, i);
	EXPECT(!faultlog_find(faults, 0x1000000, &info));
	EXPECT(!faultlog_find(faults, 0x1002000, &info));
	EXPECT(faultlog_find(faults, 0x1003000, &info));
	EXPECT_EQ(info.error, -3);
}

static void a_record_being_written_is_passed_over(void)
{
	struct mmb_fault_info info;

	begin();
	record(0x10000, 0x1000, 1);
	record(0x10000, 0x1000, 2);
	atomic_fetch_add(&faults->records[1].seq, 1);
	EXPECT(faultlog_find(faults, 0x10000, &info));
	EXPECT_EQ(info.error, -1);
}

static void nonsense_from_outside_does_no_harm(void)
{
	struct mmb_fault_info info;
	uint64_t seed = test_seed();

	for (int round = 0; round < 2000; round++) {
		for (size_t i = 0; i < sizeof(memory.page); i++)
			memory.page[i] = (uint8_t)test_random(&seed);
		if (faultlog_find(faults, test_random(&seed), &info)) {
			EXPECT(memchr(info.region, 0, sizeof(info.region)));
			EXPECT(memchr(info.cause, 0, sizeof(info.cause)));
		}
	}
	EXPECT(true);
}

static void every_open_connection_is_asked(void)
{
	int fds[PROCESS_FDS] = { -1, -1, -1, -1, -1 };
	struct mmb_fault_info info = { .size = sizeof(info) };
	struct process_entry *first, *second;

	begin();
	EXPECT_EQ(process_init(), 0);
	record(0x10000, 0x1000, 4);
	second = process_add(fds);
	fds[PROCESS_LOG] = memfd_create("log", MFD_CLOEXEC);
	EXPECT_EQ(write(fds[PROCESS_LOG], &memory, sizeof(memory)), (ssize_t)sizeof(memory));
	first = process_add(fds);
	EXPECT(first && second && first != second);
	EXPECT_EQ(mmb_fault_info((void *)0x10010, &info), 0);
	EXPECT_EQ(info.error, -4);
	info.size = offsetof(struct mmb_fault_info, error);
	memset(info.cause, 'x', sizeof(info.cause));
	EXPECT_EQ(mmb_fault_info((void *)0x10010, &info), 0);
	EXPECT_EQ(info.cause[0], 'x');
	faultlog_unmap(process_del(first));
	EXPECT_EQ(mmb_fault_info((void *)0x10010, &info), -ENOENT);
	EXPECT(process_add(fds) == first);
	EXPECT(process_del(first) == NULL); /* nobody has asked since */
	EXPECT(process_del(second) == NULL);
	close(fds[PROCESS_LOG]);
}

static const struct test_case cases[] = {
	{ "the newest record that covers the address wins", the_newest_record_wins },
	{ "old records are overwritten", old_records_are_overwritten },
	{ "a record being written is passed over", a_record_being_written_is_passed_over },
	{ "nonsense in the log does no harm", nonsense_from_outside_does_no_harm },
	{ "every open connection is asked", every_open_connection_is_asked },
};

TEST_MAIN(cases)

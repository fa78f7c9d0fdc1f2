/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_fake_os - the fake behaves as its header says
 */
#include "lib/fake_os.h"

#include <errno.h>
#include <poll.h>
#include <string.h>

#include "base/inject.h"
#include "base/types.h"
#include "lib/test.h"

enum { MB = 1 << 20 };

static void expect_clean(void)
{
	struct fake_os_counts c;
	struct validation     v = { 0 };

	fake_os_validate(&v);
	EXPECT_EQ(v.nr_differences, 0);
	fake_os_count(&c);
	EXPECT_EQ(c.files + c.present + c.mappings + c.locked, 0);
	fake_os_remove();
	EXPECT(os == &os_linux);
}

static void presence_is_exact(void)
{
	int fd;

	fake_os_install();
	fd = os->memfd_new("f", 1ULL << 40, 0);
	EXPECT_EQ(os->populate(fd, 3 * PAGE_SIZE, 2 * PAGE_SIZE, 1), 0);
	EXPECT_EQ(os->allocated(fd), 2 * PAGE_SIZE);
	EXPECT_EQ(os->next_present(fd, 0), 3 * PAGE_SIZE);
	EXPECT_EQ(os->next_present(fd, 5 * PAGE_SIZE), -ENXIO);
	EXPECT(fake_os_present(fd, 4 * PAGE_SIZE) && !fake_os_present(fd, 5 * PAGE_SIZE));
	EXPECT_EQ(fake_os_page_node(fd, 3 * PAGE_SIZE), 1);
	EXPECT_EQ(fake_os_used(1, false), 2 * PAGE_SIZE);
	EXPECT_EQ(os->punch(fd, 0, 4 * PAGE_SIZE), 0);
	EXPECT_EQ(os->allocated(fd), PAGE_SIZE);
	os->close(fd);
	EXPECT_EQ(fake_os_used(1, false), 0);
	expect_clean();
}

static void limits_refuse_all_or_nothing(void)
{
	int base, huge;

	fake_os_install();
	fake_os_set_limit(0, 4 * PAGE_SIZE, 2 * MB);
	base = os->memfd_new("f", MB, 0);
	huge = os->memfd_new("h", 8 * MB, OS_HUGETLB);
	EXPECT_EQ(os->populate(base, 0, 3 * PAGE_SIZE, 0), 0);
	EXPECT_EQ(os->populate(base, 2 * PAGE_SIZE, 3 * PAGE_SIZE, 0), -ENOMEM);
	EXPECT_EQ(os->allocated(base), 3 * PAGE_SIZE);
	EXPECT_EQ(os->populate(huge, 0, PAGE_SIZE, 0), -EINVAL);
	EXPECT_EQ(os->populate(huge, 0, 4 * MB, 0), -ENOSPC);
	EXPECT_EQ(os->populate(huge, 2 * MB, 2 * MB, 0), 0);
	EXPECT_EQ(fake_os_used(0, true), 2 * MB);
	os->close(base);
	os->close(huge);
	expect_clean();
}

static void bare_touch_is_seen(void)
{
	struct validation v = { 0 };
	void             *base;
	char             *page;
	int               fd;

	fake_os_install();
	fd = os->memfd_new("f", MB, 0);
	EXPECT_EQ(os->reserve(NULL, MB, &base), 0);
	EXPECT_EQ(os->map(base, MB, fd, 0), 0);
	EXPECT_EQ(os->populate(fd, 0, PAGE_SIZE, 0), 0);
	page = base;
	page[0] = 'x';
	fake_os_validate(&v);
	EXPECT_EQ(v.nr_differences, 0);
	page[PAGE_SIZE] = 'x';
	fake_os_validate(&v);
	EXPECT_EQ(v.nr_differences, 1);
	EXPECT_EQ(os->punch(fd, PAGE_SIZE, PAGE_SIZE), 0);
	EXPECT_EQ(os->unmap(base, MB), 0);
	os->close(fd);
	expect_clean();
}

static void mappings_keep_files(void)
{
	struct fake_os_counts c;
	void                 *base, *other;
	int                   fd;

	fake_os_install();
	EXPECT_EQ(os->reserve(NULL, 4 * MB, &base), 0);
	EXPECT_EQ(os->reserve(base, 4 * MB, &other), -EEXIST);
	fd = os->memfd_new("f", 4 * MB, 0);
	EXPECT_EQ(os->map((char *)base + 4 * MB, MB, fd, 0), -EINVAL);
	EXPECT_EQ(os->map(base, 4 * MB, fd, 0), 0);
	EXPECT_EQ(os->populate(fd, 0, MB, 0), 0);
	EXPECT_EQ(os->lock(base, MB), 0);
	os->close(fd);
	fake_os_count(&c);
	EXPECT(c.files == 0 && c.present == MB && c.mappings == 1 && c.locked == MB);
	EXPECT_EQ(os->unmap((char *)base + MB, MB), 0);
	fake_os_count(&c);
	EXPECT_EQ(c.mappings, 2);
	EXPECT_EQ(os->unmap(base, 4 * MB), 0);
	expect_clean();
}

static void client_faults(void)
{
	struct os_range_result r;
	const uint64_t         at = 0x10000000;
	int                    fd, uffd;

	fake_os_install();
	fd = os->memfd_new("f", MB, 0);
	uffd = fake_uffd_new();
	fake_uffd_window(uffd, at, MB, fd, 0);
	EXPECT_EQ(os->populate(fd, 0, 2 * PAGE_SIZE, 0), 0);
	r = os->uffd_continue(uffd, at, 3 * PAGE_SIZE);
	EXPECT(r.error == -EFAULT && r.done == 2 * PAGE_SIZE);
	EXPECT(fake_uffd_mapped(uffd, at) && fake_uffd_wakes(uffd, at) == 1);
	EXPECT_EQ(os->punch(fd, 0, PAGE_SIZE), 0);
	EXPECT(!fake_uffd_mapped(uffd, at) && fake_uffd_mapped(uffd, at + PAGE_SIZE));
	EXPECT_EQ(os->uffd_poison(uffd, at, 2 * PAGE_SIZE), 0);
	EXPECT(fake_uffd_poisoned(uffd, at) && !fake_uffd_poisoned(uffd, at + PAGE_SIZE));
	EXPECT_EQ(os->uffd_wake(uffd, at, PAGE_SIZE), 0);
	EXPECT_EQ(fake_uffd_wakes(uffd, at), 3);
	fake_uffd_zap(uffd, at, MB);
	EXPECT(!fake_uffd_poisoned(uffd, at) && !fake_uffd_mapped(uffd, at + PAGE_SIZE));
	fake_uffd_set_error(uffd, -ESRCH);
	EXPECT_EQ(os->uffd_continue(uffd, at, PAGE_SIZE).error, -ESRCH);
	fake_uffd_set_error(uffd, 0);
	fake_uffd_unmap(uffd, at, MB);
	EXPECT_EQ(os->uffd_continue(uffd, at, PAGE_SIZE).error, -ENOENT);
	fake_os_set_poison(false);
	EXPECT_EQ(os->uffd_poison(uffd, at, PAGE_SIZE), -EOPNOTSUPP);
	fake_uffd_close(uffd);
	os->close(fd);
	expect_clean();
}

static void events_are_read_in_order(void)
{
	struct os_uffd_event events[OS_UFFD_EVENTS];
	struct os_uffd_event posted = { .kind = OS_EVENT_FAULT, .flags = OS_FAULT_MINOR };
	struct pollfd        p = { .events = POLLIN };

	fake_os_install();
	p.fd = fake_uffd_new();
	EXPECT_EQ(poll(&p, 1, 0), 0);
	for (uint64_t i = 0; i < OS_UFFD_EVENTS + 2; i++) {
		posted.address = i;
		fake_uffd_post(p.fd, &posted);
	}
	EXPECT_EQ(poll(&p, 1, 0), 1);
	EXPECT_EQ(os->uffd_read(p.fd, events, OS_UFFD_EVENTS), OS_UFFD_EVENTS);
	EXPECT_EQ(events[5].address, 5);
	EXPECT_EQ(poll(&p, 1, 0), 1);
	EXPECT_EQ(os->uffd_read(p.fd, events, 1), 1);
	EXPECT_EQ(events[0].address, OS_UFFD_EVENTS);
	EXPECT_EQ(os->uffd_read(p.fd, events, OS_UFFD_EVENTS), 1);
	EXPECT_EQ(os->uffd_read(p.fd, events, OS_UFFD_EVENTS), 0);
	EXPECT_EQ(poll(&p, 1, 0), 0);
	fake_uffd_close(p.fd);
	expect_clean();
}

static void hostile_client_and_time(void)
{
	int fd;

	fake_os_install();
	fd = os->memfd_new("f", MB, 0);
	fake_os_conjure(fd, PAGE_SIZE);
	EXPECT_EQ(os->allocated(fd), PAGE_SIZE);
	fake_os_client_punch(fd, 0, MB);
	EXPECT_EQ(os->allocated(fd), 0);
	EXPECT_EQ(os->now_ns(), 1000000000);
	fake_os_advance_ns(5);
	EXPECT_EQ(os->now_ns(), 1000000005);
	inject_arm(INJECT_POPULATE, 1, -ENOMEM);
	EXPECT_EQ(os->populate(fd, 0, PAGE_SIZE, 0), -ENOMEM);
	EXPECT_EQ(os->populate(fd, 0, PAGE_SIZE, 0), 0);
	inject_arm(INJECT_POPULATE, 0, 0);
	os->close(fd);
	expect_clean();
}

static const struct test_case cases[] = {
	{ "present pages, their nodes and sums are exact", presence_is_exact },
	{ "a node's limit refuses all or nothing", limits_refuse_all_or_nothing },
	{ "a bare touch of a hole is reported", bare_touch_is_seen },
	{ "a mapping keeps a closed file until it goes", mappings_keep_files },
	{ "a fake client maps, loses, poisons and wakes pages as a real one", client_faults },
	{ "posted events are read in order, and poll as long as they wait",
	  events_are_read_in_order },
	{ "conjured pages, time and injected failures", hostile_client_and_time },
};
TEST_MAIN(cases)

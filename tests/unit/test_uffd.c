/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_uffd - the ioctls that answer faults, on the running kernel
 *
 * The ioctls on a real userfaultfd over a window in this process.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/types.h"
#include "lib/test.h"
#include "os/os.h"
#include "os/uffd_features.h"
#include "proto/uffd_compat.h"

enum { WINDOW_PAGES = 64, WINDOW = WINDOW_PAGES * PAGE_SIZE };

static int                 uffd, file;
static char               *window;
static struct uffd_features kernel;

static void open_window(void)
{
	struct uffdio_api      api = { .api = UFFD_API };
	struct uffdio_register reg = { 0 };

	if (uffd_features_probe(0, &kernel) || !kernel.wp_shmem || !kernel.minor_shmem)
		SKIP("this kernel's userfaultfd is too old");
	uffd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | UFFD_USER_MODE_ONLY);
	EXPECT(uffd >= 0);
	EXPECT_EQ(ioctl(uffd, UFFDIO_API, &api), 0);
	file = os->memfd_new("mmb-test", WINDOW, 0);
	EXPECT(file >= 0);
	window = mmap(NULL, WINDOW, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, file, 0);
	EXPECT(window != MAP_FAILED);
	reg.range = (struct uffdio_range){ (uintptr_t)window, WINDOW };
	reg.mode = UFFDIO_REGISTER_MODE_MISSING | UFFDIO_REGISTER_MODE_MINOR |
		   UFFDIO_REGISTER_MODE_WP;
	EXPECT_EQ(ioctl(uffd, UFFDIO_REGISTER, &reg), 0);
}

static void close_window(void)
{
	munmap(window, WINDOW);
	os->close(file);
	close(uffd);
}

static uint64_t page(unsigned int nr)
{
	return (uintptr_t)window + nr * PAGE_SIZE;
}

static void absent_page_stops(void)
{
	struct os_range_result r;

	open_window();
	EXPECT_EQ(os->populate(file, 0, 4 * PAGE_SIZE, OS_NODE_ANY), 0);
	r = os->uffd_continue(uffd, page(0), 8 * PAGE_SIZE);
	EXPECT_EQ(r.error, -EFAULT);
	EXPECT_EQ(r.done, 4 * PAGE_SIZE);
	EXPECT_EQ(window[3 * PAGE_SIZE], 0);
	close_window();
}

static void mapped_pages_are_passed(void)
{
	struct os_range_result r;

	open_window();
	EXPECT_EQ(os->populate(file, 0, WINDOW, OS_NODE_ANY), 0);
	for (unsigned int i = 0; i < WINDOW_PAGES; i += 3)
		EXPECT_EQ(os->uffd_continue(uffd, page(i), PAGE_SIZE).error, 0);
	r = os->uffd_continue(uffd, page(0), WINDOW);
	EXPECT_EQ(r.error, 0);
	EXPECT_EQ(r.done, WINDOW);
	for (unsigned int i = 0; i < WINDOW_PAGES; i++)
		EXPECT_EQ(window[i * PAGE_SIZE], 0);
	close_window();
}

static void *touch(void *address)
{
	return (void *)(uintptr_t)(1 + *(volatile char *)address);
}

static bool has_event(void *arg)
{
	struct pollfd p = { .fd = uffd, .events = POLLIN };

	return poll(&p, 1, 0) == 1 && (p.revents & POLLIN);
}

/* The page is mapped without waking: whoever comes second must wake the sleeper. */
static void sleeper_on_mapped_page_is_woken(void)
{
	struct os_uffd_event   events[OS_UFFD_EVENTS];
	struct uffdio_continue quiet = { .mode = UFFDIO_CONTINUE_MODE_DONTWAKE };
	struct timespec        deadline;
	pthread_t              thread;
	void                  *result = NULL;

	open_window();
	EXPECT_EQ(os->populate(file, 0, PAGE_SIZE, OS_NODE_ANY), 0);
	EXPECT_EQ(pthread_create(&thread, NULL, touch, window), 0);
	EXPECT(test_wait(has_event, NULL, 10));
	EXPECT_EQ(os->uffd_read(uffd, events, OS_UFFD_EVENTS), 1);
	EXPECT_EQ(events[0].kind, OS_EVENT_FAULT);
	EXPECT_EQ(events[0].address, page(0));
	EXPECT(events[0].flags & OS_FAULT_MINOR);
	EXPECT_EQ(os->uffd_read(uffd, events, OS_UFFD_EVENTS), 0);
	quiet.range = (struct uffdio_range){ page(0), PAGE_SIZE };
	EXPECT_EQ(ioctl(uffd, UFFDIO_CONTINUE, &quiet), 0);
	EXPECT_EQ(os->uffd_continue(uffd, page(0), PAGE_SIZE).error, 0);
	clock_gettime(CLOCK_REALTIME, &deadline);
	deadline.tv_sec += 10;
	EXPECT_EQ(pthread_timedjoin_np(thread, &result, &deadline), 0);
	EXPECT_EQ((uintptr_t)result, 1);
	close_window();
}

static sigjmp_buf bus;

static void on_sigbus(int signal)
{
	siglongjmp(bus, 1);
}

static bool touch_raises_sigbus(const volatile char *address)
{
	struct sigaction action = { .sa_handler = on_sigbus }, before;
	bool             raised = true;

	sigaction(SIGBUS, &action, &before);
	if (!sigsetjmp(bus, 1)) {
		(void)*address;
		raised = false;
	}
	sigaction(SIGBUS, &before, NULL);
	return raised;
}

static void poison_spares_mapped_pages(void)
{
	int error;

	open_window();
	EXPECT_EQ(os->populate(file, PAGE_SIZE, PAGE_SIZE, OS_NODE_ANY), 0);
	EXPECT_EQ(os->uffd_continue(uffd, page(1), PAGE_SIZE).error, 0);
	window[PAGE_SIZE] = 'x';
	error = os->uffd_poison(uffd, page(0), 3 * PAGE_SIZE);
	if (!kernel.poison) {
		EXPECT_EQ(error, -EOPNOTSUPP);
		close_window();
		return;
	}
	EXPECT_EQ(error, 0);
	EXPECT(touch_raises_sigbus(window));
	EXPECT_EQ(window[PAGE_SIZE], 'x');
	EXPECT(touch_raises_sigbus(window + 2 * PAGE_SIZE));
	EXPECT_EQ(os->allocated(file), PAGE_SIZE);
	close_window();
}

/* As eviction leaves them: protected, mapped or not, and then punched. */
static void poison_replaces_markers_of_protection(void)
{
	open_window();
	if (!kernel.poison) {
		close_window();
		SKIP("this kernel can't poison");
	}
	EXPECT_EQ(os->populate(file, 0, 4 * PAGE_SIZE, OS_NODE_ANY), 0);
	EXPECT_EQ(os->uffd_continue(uffd, page(0), 2 * PAGE_SIZE).error, 0);
	EXPECT_EQ(os->uffd_protect(uffd, page(0), 4 * PAGE_SIZE), 0);
	EXPECT_EQ(os->punch(file, 0, PAGE_SIZE), 0);
	EXPECT_EQ(os->punch(file, 2 * PAGE_SIZE, 2 * PAGE_SIZE), 0);
	EXPECT_EQ(os->uffd_poison(uffd, page(0), 4 * PAGE_SIZE), 0);
	EXPECT(touch_raises_sigbus(window));
	EXPECT_EQ(window[PAGE_SIZE], 0);
	EXPECT(touch_raises_sigbus(window + 2 * PAGE_SIZE));
	EXPECT(touch_raises_sigbus(window + 3 * PAGE_SIZE));
	close_window();
}

static void *write_to(void *address)
{
	*(volatile char *)address = 'y';
	return NULL;
}

/* A write to what is mapped protected is an event afterwards, too. */
static void poison_of_what_is_absent_lifts_nothing(void)
{
	struct os_uffd_event events[OS_UFFD_EVENTS];
	pthread_t thread;

	open_window();
	if (!kernel.poison) {
		close_window();
		SKIP("this kernel can't poison");
	}
	EXPECT_EQ(os->populate(file, 0, PAGE_SIZE, OS_NODE_ANY), 0);
	EXPECT_EQ(os->uffd_continue(uffd, page(0), PAGE_SIZE).error, 0);
	EXPECT_EQ(os->uffd_protect(uffd, page(0), PAGE_SIZE), 0);
	EXPECT_EQ(os->uffd_poison_absent(uffd, page(0), 2 * PAGE_SIZE), 0);
	EXPECT(touch_raises_sigbus(window + PAGE_SIZE));
	EXPECT_EQ(pthread_create(&thread, NULL, write_to, window), 0);
	EXPECT(test_wait(has_event, NULL, 10));
	EXPECT_EQ(os->uffd_read(uffd, events, OS_UFFD_EVENTS), 1);
	EXPECT(events[0].flags & OS_FAULT_WP);
	EXPECT_EQ(window[0], 0);
	EXPECT_EQ(os->uffd_unprotect(uffd, page(0), PAGE_SIZE), 0);
	EXPECT_EQ(pthread_join(thread, NULL), 0);
	EXPECT_EQ(window[0], 'y');
	close_window();
}

static void old_kernel_has_no_poison(void)
{
	struct uffd_features old;

	open_window();
	EXPECT_EQ(uffd_features_probe(UFFD_FEATURE_POISON, &old), 0);
	uffd_use_features(&old);
	EXPECT_EQ(os->uffd_poison(uffd, page(0), PAGE_SIZE), -EOPNOTSUPP);
	uffd_use_features(&kernel);
	close_window();
}

static void unprotect_lets_writers_go(void)
{
	struct os_uffd_event       events[OS_UFFD_EVENTS];

	open_window();
	EXPECT_EQ(os->populate(file, 0, WINDOW, OS_NODE_ANY), 0);
	EXPECT_EQ(os->uffd_continue(uffd, page(0), WINDOW).error, 0);
	EXPECT_EQ(os->uffd_protect(uffd, page(0), WINDOW), 0);
	EXPECT_EQ(os->uffd_unprotect(uffd, page(0), WINDOW), 0);
	window[0] = 'x';
	EXPECT_EQ(os->uffd_read(uffd, events, OS_UFFD_EVENTS), 0);
	close_window();
}

static void *write_first_byte(void *unused)
{
	window[0] = 'y';
	return unused;
}

/* Reads the one event that a write to page 0 is, and lets the writer go. */
static void expect_write_event(void)
{
	struct os_uffd_event events[OS_UFFD_EVENTS];
	pthread_t            writer;
	int                  nr;

	EXPECT_EQ(pthread_create(&writer, NULL, write_first_byte, NULL), 0);
	do
		nr = os->uffd_read(uffd, events, OS_UFFD_EVENTS);
	while (!nr);
	EXPECT_EQ(nr, 1);
	EXPECT(events[0].flags & OS_FAULT_WP);
	EXPECT_EQ(window[0], 'x');
	EXPECT_EQ(os->uffd_unprotect(uffd, page(0), PAGE_SIZE), 0);
	pthread_join(writer, NULL);
	EXPECT_EQ(window[0], 'y');
}

static void writing_what_is_protected_is_an_event(void)
{
	struct os_range_result r;

	open_window();
	EXPECT_EQ(os->populate(file, 0, WINDOW, OS_NODE_ANY), 0);
	EXPECT_EQ(os->uffd_continue(uffd, page(0), WINDOW).error, 0);
	window[0] = 'x';
	EXPECT_EQ(os->uffd_protect(uffd, page(0), WINDOW), 0);
	expect_write_event();
	window[0] = 'x';
	EXPECT_EQ(madvise(window, PAGE_SIZE, MADV_DONTNEED), 0);
	r = os->uffd_continue_protected(uffd, page(0), PAGE_SIZE);
	EXPECT_EQ(r.error, kernel.continue_wp ? 0 : -EOPNOTSUPP);
	if (!r.error)
		expect_write_event();
	close_window();
}

static void errors_are_told(void)
{
	struct os_range_result r;

	open_window();
	EXPECT_EQ(os->uffd_wake(uffd, page(0), PAGE_SIZE), 0);
	munmap(window, WINDOW);
	r = os->uffd_continue(uffd, page(0), PAGE_SIZE);
	EXPECT(r.error == -ENOENT || r.error == -EINVAL);
	EXPECT_EQ(r.done, 0);
	EXPECT(os->uffd_wake(uffd, page(0) + 1, PAGE_SIZE) < 0);
	os->close(file);
	close(uffd);
}

static void hugetlb_steps(void)
{
	struct uffdio_api      api = { .api = UFFD_API };
	struct uffdio_register reg = { .mode = UFFDIO_REGISTER_MODE_MINOR };
	struct os_range_result r;
	int                    fd = os->memfd_new("mmb-test", 4 << 20, OS_HUGETLB);

	if (fd < 0 || os->populate(fd, 0, 4 << 20, OS_NODE_ANY))
		SKIP("no two free hugepages");
	uffd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | UFFD_USER_MODE_ONLY);
	EXPECT_EQ(ioctl(uffd, UFFDIO_API, &api), 0);
	window = mmap(NULL, 4 << 20, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd, 0);
	EXPECT(window != MAP_FAILED);
	reg.range = (struct uffdio_range){ page(0), 4 << 20 };
	EXPECT_EQ(ioctl(uffd, UFFDIO_REGISTER, &reg), 0);
	r = os->uffd_continue(uffd, page(0), PAGEBLOCK_SIZE);
	EXPECT(!r.error && r.done == PAGEBLOCK_SIZE);
	r = os->uffd_continue(uffd, page(0), 2 * PAGEBLOCK_SIZE);
	EXPECT(!r.error && r.done == 2 * PAGEBLOCK_SIZE);
	munmap(window, 4 << 20);
	os->close(fd);
	close(uffd);
}

static void probe_and_hide(void)
{
	struct uffd_features f;
	char                 missing[256];

	if (uffd_features_probe(0, &f))
		SKIP("no userfaultfd here");
	if (uffd_features_sufficient(&f, missing, sizeof(missing)))
		EXPECT(missing[0] == '\0');
	EXPECT_EQ(uffd_features_probe(UFFD_FEATURE_POISON | UFFD_FEATURE_WP_ASYNC, &f), 0);
	EXPECT(!f.poison && !f.continue_wp && !f.wp_async);
	EXPECT_EQ(uffd_features_probe(UFFD_FEATURE_EXACT_ADDRESS | UFFD_FEATURE_MINOR_SHMEM, &f),
		  0);
	EXPECT(!uffd_features_sufficient(&f, missing, sizeof(missing)));
	EXPECT(strstr(missing, "minor faults on shmem (Linux 5.14), exact fault addresses"));
	EXPECT(!uffd_features_sufficient(&f, missing, 10));
	EXPECT_EQ(strlen(missing), 9);
}

static void received_descriptors(void)
{
	struct uffdio_api api = { .api = UFFD_API, .features = UFFD_FEATURE_EXACT_ADDRESS };
	uint64_t          features;
	int               fds[2];

	EXPECT_EQ(pipe(fds), 0);
	EXPECT_EQ(uffd_accept(fds[0], &features), -EINVAL);
	EXPECT_EQ(uffd_accept(-1, &features), -EINVAL);
	close(fds[0]);
	close(fds[1]);
	uffd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | UFFD_USER_MODE_ONLY); /* blocking */
	if (uffd < 0)
		SKIP("no userfaultfd here");
	EXPECT_EQ(uffd_accept(uffd, &features), -EPROTO);
	EXPECT_EQ(ioctl(uffd, UFFDIO_API, &api), 0);
	EXPECT_EQ(uffd_accept(uffd, &features), 0);
	EXPECT_EQ(features, UFFD_FEATURE_EXACT_ADDRESS);
	EXPECT(fcntl(uffd, F_GETFL) & O_NONBLOCK);
	close(uffd);
}

static const struct test_case cases[] = {
	{ "continue stops at an absent page and tells how far it came", absent_page_stops },
	{ "continue passes over pages that are mapped already", mapped_pages_are_passed },
	{ "a sleeper on a page that is mapped already is woken", sleeper_on_mapped_page_is_woken },
	{ "poison ends touchers of absent pages and spares mapped ones",
	  poison_spares_mapped_pages },
	{ "poison takes the place of what a punch leaves of a protected page",
	  poison_replaces_markers_of_protection },
	{ "poison of what is absent lifts nothing", poison_of_what_is_absent_lifts_nothing },
	{ "an older kernel, played by hiding the feature, doesn't poison",
	  old_kernel_has_no_poison },
	{ "unprotecting lets writers go on", unprotect_lets_writers_go },
	{ "writing a protected page is an event, and reading it isn't",
	  writing_what_is_protected_is_an_event },
	{ "an unmapped window gives an error, waking it none", errors_are_told },
	{ "continue steps by 2 MiB over hugetlb", hugetlb_steps },
	{ "features are probed, and can be hidden to play an older kernel", probe_and_hide },
	{ "a descriptor from a client is checked and made non-blocking", received_descriptors },
};
TEST_MAIN(cases)

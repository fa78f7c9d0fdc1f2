/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_hostile_process - clients that stop, fork, exec, change their user or keep their map busy
 *
 * Purpose     What a process can do to itself while it is a client; whoever waits for it, nobody
 *             else does.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "proto/uffd_compat.h"
#include "system/hostile.h"

const char *const hostile_flags[] = { NULL };

enum { PAGES = 256 };

/* ---- a busy memory map ---- */

static void *keep_map_busy(void *arg)
{
	enum { BYTES = 64 << 20 };

	for (;;) {
		void *at = mmap(NULL, BYTES, PROT_READ | PROT_WRITE,
				MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

		CLIENT_EXPECT(at != MAP_FAILED);
		munmap(at, BYTES);
	}
	return arg;
}

static void fault_forever(struct raw *r, struct raw_region *region)
{
	for (;;) {
		for (int i = 0; i < PAGES; i++)
			raw_write_byte(region->at + i * PAGE, 1);
		raw_advise(r, region, 0, region->length, MMB_ADVISE_DONTNEED);
	}
}

/* As busy, on memory of the kernel's: no client. */
static void be_busy_elsewhere(struct client_process *self, void *unused)
{
	pthread_t thread;
	char     *at = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
			    -1, 0);

	CLIENT_EXPECT(at != MAP_FAILED);
	CLIENT_EXPECT_EQ(pthread_create(&thread, NULL, keep_map_busy, NULL), 0);
	CLIENT_EXPECT(client_tell_step(self, 'b'));
	for (;;) {
		memset(at, 1, PAGES * PAGE);
		CLIENT_EXPECT_EQ(madvise(at, PAGES * PAGE, MADV_DONTNEED), 0);
	}
}

static void be_busy(struct client_process *self, void *socket)
{
	static struct attack a = { .seed = 1 };
	struct raw_region    region;
	pthread_t            thread;

	a.socket = socket;
	attack_pool(&a);
	region = attack_region(&a, PAGES);
	CLIENT_EXPECT_EQ(pthread_create(&thread, NULL, keep_map_busy, NULL), 0);
	CLIENT_EXPECT(client_tell_step(self, 'b'));
	fault_forever(&a.r, &region);
}

/* Faults that this client gets answered in half a second, each time it is asked. */
static void count_faults(struct client_process *self, void *socket)
{
	static struct attack a = { .seed = 1 };
	struct raw_region    region;
	char                 step;

	a.socket = socket;
	attack_pool(&a);
	region = attack_region(&a, PAGES);
	CLIENT_EXPECT(client_tell_step(self, 'r'));
	while (read(self->in, &step, 1) == 1) {
		struct timespec start, now;
		uint64_t        nr = 0;

		clock_gettime(CLOCK_MONOTONIC, &start);
		do {
			CLIENT_EXPECT_EQ(raw_advise(&a.r, &region, 0, region.length,
						    MMB_ADVISE_DONTNEED), 0);
			for (int i = 0; i < PAGES; i += 32, nr++)
				CLIENT_EXPECT_EQ(raw_write_byte(region.at + i * PAGE, 1), 0);
			clock_gettime(CLOCK_MONOTONIC, &now);
		} while ((now.tv_sec - start.tv_sec) * 1000000000l + now.tv_nsec - start.tv_nsec <
			 500000000l);
		CLIENT_EXPECT(client_tell(self, &nr, sizeof(nr)));
	}
}

static uint64_t ask_count(struct client_process *c)
{
	uint64_t nr = 0;

	EXPECT(client_tell_step(c, 'c'));
	EXPECT(client_hear(c, &nr, sizeof(nr)));
	return nr;
}

enum { BUSY = 2, LOOKS = 3 };

/* The victim's faults beside processes that are busy in this way. */
static uint64_t count_beside(struct client_process *victim, client_fn busy, void *socket)
{
	struct client_process c[BUSY];
	uint64_t              nr = 0;

	for (int i = 0; i < BUSY; i++)
		client_fork(&c[i], busy, socket);
	for (int i = 0; i < BUSY; i++)
		EXPECT(client_hear_step(&c[i], 'b'));
	for (int i = 0; i < LOOKS; i++)
		nr += ask_count(victim);
	for (int i = 0; i < BUSY; i++)
		client_signal(&c[i], SIGKILL);
	return nr / LOOKS;
}

static void busy_map(void)
{
	/* Beside busy processes everybody gets a share of the CPUs only; who waited behind their
	 * maps as well would get a few faults in a hundred of those. */
	enum { SHARE = 20 };
	struct fixture       *f = hostile_begin();
	struct client_process victim;
	uint64_t              quiet, beside_others, beside_clients;

	client_fork(&victim, count_faults, f->socket);
	EXPECT(client_hear_step(&victim, 'r'));
	quiet = ask_count(&victim);
	beside_others = count_beside(&victim, be_busy_elsewhere, NULL);
	beside_clients = count_beside(&victim, be_busy, f->socket);
	client_signal(&victim, SIGKILL);
	printf("  faults in half a second: %llu alone, %llu beside busy processes, %llu beside "
	       "clients with busy maps\n", (unsigned long long)quiet,
	       (unsigned long long)beside_others, (unsigned long long)beside_clients);
	EXPECT(beside_clients * SHARE > beside_others);
	hostile_check();
}

/* ---- stopped ---- */

/* Arms that a client is stopped in; it says 's' when it may be stopped. */
static void stopped_idle(struct attack *a, struct client_process *self)
{
	attack_region(a, PAGES);
	client_tell_step(self, 's');
	pause();
}

static void stopped_before_reading(struct attack *a, struct client_process *self)
{
	attack_region(a, PAGES);
	for (int i = 0; i < 40; i++)
		CLIENT_EXPECT_EQ(raw_request(&a->r, MMB_METHOD_VMSTAT, NULL), 0);
	client_tell_step(self, 's');
	pause();
}

static void stopped_in_faults(struct attack *a, struct client_process *self)
{
	struct raw_region region = attack_region(a, PAGES);

	client_tell_step(self, 's');
	fault_forever(&a->r, &region);
}

static void stopped_in_requests(struct attack *a, struct client_process *self)
{
	client_tell_step(self, 's');
	for (;;) {
		struct raw_region region = attack_region(a, PAGES);

		raw_write_byte(region.at, 1);
		raw_region_close(&a->r, &region);
	}
}

static void stopped_in_allocations(struct attack *a, struct client_process *self)
{
	uint64_t runs[64];

	client_tell_step(self, 's');
	for (;;) {
		CLIENT_EXPECT(raw_pages(&a->r, 1, 0, 64, runs) == 64);
		CLIENT_EXPECT_EQ(raw_pages_free(&a->r, 1, runs, 64), 0);
	}
}

typedef void (*stopped_fn)(struct attack *a, struct client_process *self);
static const stopped_fn stops[] = {
	stopped_idle, stopped_before_reading, stopped_in_faults, stopped_in_requests,
	stopped_in_allocations,
};
enum { NR_STOPS = sizeof(stops) / sizeof(stops[0]) };

struct stopped_arg {
	const char *socket;
	int         which;
};

static void get_stopped(struct client_process *self, void *arg)
{
	static struct attack      a = { .seed = 1 };
	const struct stopped_arg *s = arg;

	a.socket = s->socket;
	attack_pool(&a);
	stops[s->which](&a, self);
}

static void stopped_everywhere(void)
{
	struct fixture       *f = hostile_begin();
	struct client_process c[2 * NR_STOPS];
	struct stopped_arg    arg = { .socket = f->socket };

	for (int i = 0; i < 2 * NR_STOPS; i++) {
		arg.which = i % NR_STOPS;
		client_fork(&c[i], get_stopped, &arg);
		EXPECT(client_hear_step(&c[i], 's'));
		usleep(3000);
		client_signal(&c[i], SIGSTOP);
	}
	for (int i = 0; i < 10; i++)
		hostile_expect_bystander();
	for (int i = 0; i < NR_STOPS; i++)
		client_signal(&c[i], SIGCONT);
	for (int i = 0; i < 5; i++)
		hostile_expect_bystander();
	/* Half of them die stopped. */
	for (int i = 0; i < 2 * NR_STOPS; i++)
		client_signal(&c[i], SIGKILL);
	hostile_check();
}

/* Shares a region with a client that has stopped: no verb on it waits for that one. */
ATTACK(stopped_sharer)
{
	struct raw_region_want         want = { .name = "shared", .length = PAGES * PAGE,
						.flags = MMB_REGION_CREATE };
	Mmb__Wire__RegionUnlinkRequest unlinked = MMB__WIRE__REGION_UNLINK_REQUEST__INIT;
	struct raw_region              region;
	pid_t                          other = fork();

	if (!other) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		attack_attach(a);
		CLIENT_EXPECT_EQ(raw_pool(&a->r, "with-a-stopped-one", 0), 0);
		CLIENT_EXPECT_EQ(raw_region_open(&a->r, &want, &region), 0);
		for (int i = 0; i < PAGES; i += 2)
			raw_write_byte(region.at + i * PAGE, 1);
		/* A page it knows to be poisoned, so that emptying it sends an upcall. */
		CLIENT_EXPECT_EQ(madvise(region.at, PAGE, MADV_REMOVE), 0);
		CLIENT_EXPECT_EQ(raw_write_byte(region.at, 1), -EFAULT);
		raise(SIGSTOP);
		_exit(0);
	}
	CLIENT_EXPECT_EQ(waitpid(other, NULL, WUNTRACED), other);
	attack_attach(a);
	CLIENT_EXPECT_EQ(raw_pool(&a->r, "with-a-stopped-one", 0), 0);
	CLIENT_EXPECT_EQ(raw_region_open(&a->r, &want, &region), 0);
	for (int round = 0; round < 50; round++) {
		CLIENT_EXPECT_EQ(raw_advise(&a->r, &region, 0, region.length,
					    MMB_ADVISE_DONTNEED), 0);
		pattern_fill(region.at, region.length, (uint64_t)round);
		CLIENT_EXPECT(pattern_holds(region.at, region.length, (uint64_t)round));
	}
	unlinked.pool = a->r.pool;
	unlinked.name = (char *)(uintptr_t)want.name;
	CLIENT_EXPECT_EQ(raw_call(&a->r, MMB_METHOD_REGION_UNLINK, &unlinked), 0);
	CLIENT_EXPECT_EQ(raw_region_close(&a->r, &region), 0);
	kill(other, SIGKILL);
	waitpid(other, NULL, 0);
	attack_serves(&a->r);
}

/* ---- fork, exec, users, namespaces ---- */

/* Every fork sends the daemon a userfaultfd of the child. */
ATTACK(forks_with_events)
{
	struct raw_region region;

	attack_greet(a);
	a->r.uffd_features = UFFD_FEATURE_MISSING_SHMEM | UFFD_FEATURE_MINOR_SHMEM |
			     UFFD_FEATURE_EVENT_FORK | UFFD_FEATURE_PAGEFAULT_FLAG_WP |
			     UFFD_FEATURE_WP_HUGETLBFS_SHMEM;
	CLIENT_EXPECT_EQ(raw_attach(&a->r), 0);
	CLIENT_EXPECT_EQ(raw_pool(&a->r, NULL, 0), 0);
	region = attack_region(a, PAGES);
	CLIENT_EXPECT_EQ(madvise(region.at, region.length, MADV_DOFORK), 0);
	CLIENT_EXPECT_EQ(raw_write_byte(region.at, 1), 0);
	for (int i = 0; i < 50; i++) {
		char  value;
		pid_t child = fork();

		if (!child) {
			raw_read_byte(region.at + (i + 1) * PAGE, &value);
			_exit(0);
		}
		CLIENT_EXPECT(child > 0);
		CLIENT_EXPECT_EQ(waitpid(child, NULL, 0), child);
	}
	CLIENT_EXPECT_EQ(raw_write_byte(region.at + 200 * PAGE, 1), 0);
	attack_serves(&a->r);
}

static void fork_events(void)
{
	if (getuid())
		SKIP("EVENT_FORK needs CAP_SYS_PTRACE");
	forks_with_events();
}

ATTACK(forks_without_guards)
{
	struct raw_region region;

	attack_pool(a);
	region = attack_region(a, PAGES);
	pattern_fill(region.at, region.length / 2, 1);
	CLIENT_EXPECT_EQ(madvise(region.at, region.length, MADV_DOFORK), 0);
	for (int i = 0; i < 20; i++) {
		pid_t child = fork();

		if (!child) { /* its frames are conjured ones at worst */
			memset(region.at + region.length / 2, 1, region.length / 2);
			_exit(0);
		}
		CLIENT_EXPECT_EQ(waitpid(child, NULL, 0), child);
	}
	CLIENT_EXPECT(pattern_holds(region.at, region.length / 2, 1));
	attack_serves(&a->r);
}

/* The image is gone, the process and its socket aren't. */
static void replace_image(struct client_process *self, void *socket)
{
	static struct attack a = { .seed = 1 };
	struct raw_region    region;

	a.socket = socket;
	attack_pool(&a);
	region = attack_region(&a, PAGES);
	pattern_fill(region.at, region.length, 1);
	CLIENT_EXPECT_EQ(fcntl(a.r.sock, F_SETFD, 0), 0);
	CLIENT_EXPECT_EQ(fcntl(a.r.uffd, F_SETFD, 0), 0);
	CLIENT_EXPECT_EQ(fcntl(self->in, F_SETFD, 0), 0);
	CLIENT_EXPECT(dup2(self->in, STDIN_FILENO) == STDIN_FILENO);
	CLIENT_EXPECT(client_tell_step(self, 'x'));
	execl("/bin/cat", "cat", NULL);
	CLIENT_EXPECT(!"exec");
}

static void image_replaced(void)
{
	struct fixture       *f = hostile_begin();
	struct client_process c;

	client_fork(&c, replace_image, f->socket);
	EXPECT(client_hear_step(&c, 'x'));
	for (int i = 0; i < 3; i++)
		hostile_expect_bystander();
	close(c.out); /* the end of cat's input */
	c.out = -1;
	EXPECT_EQ(client_wait(&c), 0);
	hostile_check();
}

/* Rights follow the user at the time of connect. */
ATTACK(user_changed_after_connect)
{
	struct raw_region region;

	attack_pool(a);
	region = attack_region(a, PAGES);
	CLIENT_EXPECT_EQ(client_become_nobody(), 0);
	CLIENT_EXPECT_EQ(raw_call(&a->r, MMB_METHOD_VERIFY, NULL), 0);
	CLIENT_EXPECT_EQ(raw_write_byte(region.at, 1), 0);
	raw_close(&a->r);
	attack_greet(a);
	attack_refused(&a->r, MMB_METHOD_VERIFY, NULL, -EPERM);
}

static void user_changed(void)
{
	if (getuid())
		SKIP("changing the user needs root");
	user_changed_after_connect();
}

ATTACK(from_another_pid_namespace)
{
	int status;

	CLIENT_EXPECT_EQ(unshare(CLONE_NEWPID), 0);
	if (fork() == 0) {
		struct raw_region region;

		attack_pool(a);
		region = attack_region(a, PAGES);
		CLIENT_EXPECT_EQ(raw_write_byte(region.at, 1), 0);
		attack_serves(&a->r);
		_exit(0);
	}
	wait(&status);
	CLIENT_EXPECT_EQ(status, 0);
}

static void another_pid_namespace(void)
{
	if (getuid())
		SKIP("a namespace needs root");
	from_another_pid_namespace();
}

ATTACK(session_given_to_another_process)
{
	uint8_t             byte;
	struct wire_message m = { .bytes = &byte, .capacity = 1 };
	int                 pair[2];

	CLIENT_EXPECT_EQ(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair), 0);
	if (fork() == 0) {
		struct raw sender;

		attack_pool(a);
		attack_region(a, PAGES);
		raw_init(&sender);
		sender.sock = pair[1];
		CLIENT_EXPECT_EQ(raw_send_fds(&sender, "s", 1, &a->r.sock, 1), 0);
		_exit(0);
	}
	CLIENT_EXPECT_EQ(wire_recv(pair[0], &m, 0), 1);
	wait(NULL);
	raw_init(&a->r);
	a->r.sock = m.fds[0];
	/* It ended with the process that connected. */
	raw_request(&a->r, MMB_METHOD_PING, NULL);
	attack_ended(&a->r);
}

static const struct test_case cases[] = {
	{ "clients that keep their memory map busy delay no other's faults", busy_map },
	{ "clients stopped anywhere delay nobody", stopped_everywhere },
	{ "a stopped sharer delays no verb on the shared region", stopped_sharer },
	{ "userfaultfds of forked children aren't kept", fork_events },
	{ "forking without the library's guards harms that client alone", forks_without_guards },
	{ "a client that replaces its image harms nobody and leaves nothing", image_replaced },
	{ "rights follow the user at the time of connect", user_changed },
	{ "a client in another pid namespace is a client", another_pid_namespace },
	{ "a session given to another process ends with its own",
	  session_given_to_another_process },
	HOSTILE_STOPS,
};
TEST_MAIN(cases)

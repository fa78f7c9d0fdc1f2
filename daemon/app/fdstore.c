/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fdstore - messages on the socket pair; names of three characters for the service manager
 *
 * Locking     see fdstore.h.
 */
#include "app/fdstore.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <systemd/sd-daemon.h>
#include <time.h>
#include <unistd.h>

#include "app/notify.h"
#include "base/heartbeat.h"
#include "base/log.h"
#include "client/resume.h"
#include "os/keep.h"
#include "os/os.h"

enum { NAME_BYTES = 3, BITS_A_BYTE = 6, WAIT_MS = 1000, PAUSE_NS = 1000 * 1000 };
static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

static int supervisor = -1;      /* fixed after init */
static struct notify_stall stall = { .id = "supervisor_stalled", .who = "supervisor" }; /* S1 */

/* Drops that the supervisor hasn't been told yet: a bit a key. All guarded by owed_lock, under
 * which nothing waits. */
static pthread_mutex_t owed_lock = PTHREAD_MUTEX_INITIALIZER;
static uint64_t owed[KEEP_KEYS / 64];
static uint32_t nr_owed;

/* ---- messages ---- */

static int send_once(enum fdstore_op op, uint32_t key, int fd)
{
	struct fdstore_message m = { .op = op, .key = key };

	return notify_send_once(supervisor, &m, sizeof(m), fd);
}

static int send_waiting(enum fdstore_op op, uint32_t key, int fd)
{
	uint64_t until = os->now_ns() + WAIT_MS * 1000000ull;
	int r;

	while (notify_may_pass(r = send_once(op, key, fd)) && os->now_ns() < until)
		heartbeat_sleep(&(struct timespec){ .tv_nsec = PAUSE_NS });
	return r;
}

/* S1 */
static int send_to_supervisor(enum fdstore_op op, uint32_t key, int fd)
{
	bool was = atomic_load(&stall.is_on);
	int r = was ? send_once(op, key, fd) : send_waiting(op, key, fd);

	notify_note_stall(&stall, was, r);
	if (!r && op == FDSTORE_KEEP) /* others go through when no descriptor does */
		atomic_store(&stall.is_on, false);
	return r;
}

int fdstore_receive(int sock, struct fdstore_message *m, int *fd)
{
	struct iovec iov = { .iov_base = m, .iov_len = sizeof(*m) };
	union {
		struct cmsghdr header;
		char space[CMSG_SPACE(sizeof(int))];
	} control;
	struct msghdr msg = { .msg_iov = &iov,
			      .msg_iovlen = 1,
			      .msg_control = control.space,
			      .msg_controllen = sizeof(control.space) };
	struct cmsghdr *c;
	ssize_t got;

	*fd = -1;
	do {
		got = recvmsg(sock, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	} while (got < 0 && errno == EINTR);
	if (got <= 0)
		return got ? -errno : 0;
	c = CMSG_FIRSTHDR(&msg);
	if (c && c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS)
		memcpy(fd, CMSG_DATA(c), sizeof(*fd));
	if (got == sizeof(*m) &&
	    (*fd >= 0) == (m->op == FDSTORE_KEEP || m->op == FDSTORE_BARRIER))
		return 1;
	if (*fd >= 0)
		close(*fd);
	return -EPROTO;
}

/* ---- the supervisor ---- */

static bool set_owed_locked(uint32_t key, bool on)
{
	uint64_t bit = 1ull << key % 64;
	bool was = owed[key / 64] & bit;

	owed[key / 64] = on ? owed[key / 64] | bit : owed[key / 64] & ~bit;
	if (was != on)
		nr_owed += on ? 1 : -1u;
	return was;
}

static bool set_owed(uint32_t key, bool on)
{
	bool was;

	pthread_mutex_lock(&owed_lock);
	was = set_owed_locked(key, on);
	pthread_mutex_unlock(&owed_lock);
	return was;
}

static void pay_drops(void)
{
	pthread_mutex_lock(&owed_lock);
	for (uint32_t key = 0; key < KEEP_KEYS && nr_owed; key++) {
		if (!(owed[key / 64] & 1ull << key % 64))
			continue;
		if (send_once(FDSTORE_DROP, key, -1) == -EAGAIN)
			break;
		set_owed_locked(key, false);
	}
	pthread_mutex_unlock(&owed_lock);
}

/* Keeping another one under a key drops what was there. */
static int supervisor_keep(uint32_t key, int fd)
{
	bool was_owed = set_owed(key, false);
	int r = send_to_supervisor(FDSTORE_KEEP, key, fd);

	if (r && was_owed)
		set_owed(key, true);
	pay_drops();
	return r;
}

/* Never lost: a client whose socket the supervisor still has wouldn't see that it is closed. */
static void supervisor_drop(uint32_t key)
{
	if (send_to_supervisor(FDSTORE_DROP, key, -1) == -EAGAIN)
		set_owed(key, true);
}

/* Drops that are owed go first. A supervisor of an older release closes what it doesn't know. */
static int supervisor_barrier(int fd)
{
	bool owes;

	pay_drops();
	pthread_mutex_lock(&owed_lock);
	owes = nr_owed;
	pthread_mutex_unlock(&owed_lock);
	return owes ? -EAGAIN : send_once(FDSTORE_BARRIER, 0, fd);
}

static int take_from_supervisor(int table)
{
	struct fdstore_entry entries[256];
	ssize_t got;
	int r = lseek(table, 0, SEEK_SET) ? -errno : 0;

	while (!r && (got = read(table, entries, sizeof(entries))) != 0) {
		if (got < 0)
			return -errno;
		for (size_t i = 0; i < (size_t)got / sizeof(entries[0]) && !r; i++) {
			r = fcntl(entries[i].fd, F_SETFD, FD_CLOEXEC) ? -errno : 0;
			if (!r)
				r = keep_give(entries[i].key, entries[i].fd);
		}
	}
	return r;
}

/* ---- the service manager ---- */

static void name_of(uint32_t key, char name[NAME_BYTES + 1])
{
	for (int i = NAME_BYTES; i-- > 0; key >>= BITS_A_BYTE)
		name[i] = digits[key & ((1 << BITS_A_BYTE) - 1)];
	name[NAME_BYTES] = '\0';
}

static bool key_of(const char *name, uint32_t *key)
{
	*key = 0;
	if (strlen(name) != NAME_BYTES)
		return false;
	for (int i = 0; i < NAME_BYTES; i++) {
		const char *digit = strchr(digits, name[i]);

		if (!digit)
			return false;
		*key = *key << BITS_A_BYTE | (uint32_t)(digit - digits);
	}
	return true;
}

static int manager_keep(uint32_t key, int fd)
{
	char name[NAME_BYTES + 1], state[64];
	int r;

	name_of(key, name);
	/* Another one of that name would stay beside it. */
	snprintf(state, sizeof(state), "FDSTOREREMOVE=1\nFDNAME=%s", name);
	r = notify_send(state, -1);
	snprintf(state, sizeof(state), "FDSTORE=1\nFDPOLL=0\nFDNAME=%s", name);
	return r ? r : notify_send(state, fd);
}

static void manager_drop(uint32_t key)
{
	char name[NAME_BYTES + 1], state[64];

	name_of(key, name);
	snprintf(state, sizeof(state), "FDSTOREREMOVE=1\nFDNAME=%s", name);
	notify_send(state, -1);
}

static int manager_barrier(int fd)
{
	return notify_send("BARRIER=1", fd);
}

static int take_from_manager(void)
{
	char **names = NULL;
	int nr = sd_listen_fds_with_names(0, &names), r = 0;
	uint32_t key;

	for (int i = 0; i < nr; i++) {
		if (!r && key_of(names[i], &key))
			r = keep_give(key, SD_LISTEN_FDS_START + i);
		free(names[i]);
	}
	free(names);
	return nr < 0 ? nr : r;
}

/* ---- both ---- */

/* It goes on with the program that it keeps. */
static _Noreturn void refuse_supervisor(void)
{
	log_emit(LOG_ERR, "store_failed",
		 "the supervisor is of another release, which passes descriptors in another way; "
		 "this release serves when the whole service is started anew");
	_exit(FDSTORE_REFUSED);
}

int fdstore_init(void)
{
	static const struct keep_ops own = { supervisor_keep, supervisor_drop,
					     supervisor_barrier };
	static const struct keep_ops manager = { manager_keep, manager_drop, manager_barrier };
	const char *given = getenv(FDSTORE_VARIABLE), *room = getenv("FDSTORE");
	const char *noticed = getenv(FDSTORE_NOTICED), *table = getenv(FDSTORE_TABLE);
	int r = notify_init();

	if (r)
		log_emit(LOG_ERR, "no_manager", "the service manager can't be told anything: %s",
			 strerror(-r));
	r = 0;
	if (given) {
		supervisor = atoi(given);
		unsetenv(FDSTORE_VARIABLE);
		if (noticed)
			resume_mark(RESUME_NOTICED, strtoull(noticed, NULL, 10));
		unsetenv(FDSTORE_NOTICED);
		if (fcntl(supervisor, F_SETFD, FD_CLOEXEC))
			return -errno;
		if (!table)
			refuse_supervisor();
		r = take_from_supervisor(atoi(table));
		close(atoi(table));
		unsetenv(FDSTORE_TABLE);
		keep_set(&own);
	} else if (notify_is_on() && room && atoi(room) > 0) {
		keep_set_room((uint32_t)atoi(room));
		r = take_from_manager();
		keep_set(&manager);
	}
	if (r)
		log_emit(LOG_ERR, "store_failed",
			 "what the last daemon has left can't be taken over: %s", strerror(-r));
	return r;
}

/* Beside the sessions: metadata, listener, program, swap areas, the daemon's own memory, and a few
 * pools and regions, without which sessions are nothing. */
enum { STORE_SPARE = 64 };

bool fdstore_holds(unsigned long long sessions, char text[FDSTORE_WHY_BYTES])
{
	unsigned long long wanted = sessions * KEEP_SESSION_FDS + STORE_SPARE;

	if (!keep_is_on() || wanted <= keep_room())
		return true;
	snprintf(text, FDSTORE_WHY_BYTES,
		 "limits.sessions: %llu sessions and what they need take %llu descriptors in the "
		 "service manager's store, which has room for %u: raise FileDescriptorStoreMax= "
		 "and FDSTORE= in the unit (at most 32000), or lower the key",
		 sessions, wanted, keep_room());
	return false;
}

uint32_t fdstore_share(uint32_t sessions, uint32_t regions)
{
	uint32_t room;

	keep_set_reserved(sessions * KEEP_SESSION_FDS + KEEP_ONCE);
	room = keep_room_for_sections();
	return room == UINT32_MAX || regions < room / 2 ? regions : room / 2;
}

bool fdstore_has_supervisor(void)
{
	return supervisor >= 0;
}

void fdstore_ready(void)
{
	if (supervisor >= 0)
		send_to_supervisor(FDSTORE_READY, 0, -1);
}

/* A supervisor that reads nothing is stopped itself, and must not stop this process. */
void fdstore_alive(void)
{
	if (supervisor < 0)
		return;
	send_once(FDSTORE_ALIVE, 0, -1);
	pay_drops();
}

/* ---- releases ---- */

int fdstore_keep_program(void)
{
	int fd = keep_is_on() ? open("/proc/self/exe", O_RDONLY | O_CLOEXEC) : -1, r;

	if (fd < 0)
		return keep_is_on() ? -errno : 0;
	r = keep_fd(KEEP_PROGRAM, fd);
	close(fd);
	return r;
}

/* As the manager passed them to this process: LISTEN_PID and the names are as they were. */
static void pass_on_descriptors(void)
{
	int nr = sd_listen_fds(0);

	for (int fd = SD_LISTEN_FDS_START; fd < SD_LISTEN_FDS_START + nr; fd++)
		fcntl(fd, F_SETFD, 0);
}

void fdstore_give_back(char **argv)
{
	int program = keep_take(KEEP_PROGRAM);

	if (program < 0 || getenv(FDSTORE_GIVEN_BACK))
		return;
	log_emit(LOG_ERR, "state_refused",
		 "the release that was here before goes on; nothing of its has been touched");
	if (supervisor >= 0)
		_exit(FDSTORE_REFUSED);
	pass_on_descriptors();
	setenv(FDSTORE_GIVEN_BACK, "1", 1);
	fexecve(program, argv, environ);
	log_emit(LOG_ERR, "state_refused", "it can't be executed: %s", strerror(errno));
}

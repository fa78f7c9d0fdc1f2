/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_object_kills - processes that share a pool's objects are killed and stopped at random
 *
 * Workers allocate, pass pointers through a table of slots that all of them have, and free what
 * they find there; who frees an object checks its stamp. Seconds, or minutes with MMB_LONG. After
 * it every counter of the daemon is where it was.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "bench/lib/slot.h"
#include "system/stage.h"

enum {
	WORKERS = 8,
	SLOTS = 512,
	MINE = 60,
	LARGE = 300 << 10,
	SECONDS = 5,
	SECONDS_LONG = 180,
	KILL_MS = 40,
	STOP_MS = 800,
	STOPS = 4,
	LOOKS = 4,
	STUCK_SECONDS = 20, /* on a machine that does much else */
	ADOPT_MS = 300,
	VERIFY_SECONDS = 20,
	LOST_BYTES = 4 << 20, /* 64 slabs, most of them of one unit */
	CUTS = 4,
	CUT_SECONDS = 30,
	HOARD = 200, /* LARGE objects */
	OBJECT = 96,
};

/* Shared by all processes. */
struct table {
	_Atomic uint64_t slots[SLOTS];
	_Atomic uint64_t own[WORKERS][MINE]; /* of a place: who follows a killed one has them */
	_Atomic uint64_t done[WORKERS]; /* operations */
	_Atomic uint64_t refused;
	atomic_bool      cut[WORKERS];  /* is to be cut by the daemon */
	_Atomic uint32_t nr_out;        /* of those, who has found it out */
	_Atomic uint32_t nr_broken;     /* stamps */
	_Atomic uint32_t nr_lost;       /* lives that ended without saying so */
	atomic_bool      finish;
};
static struct table *table;

static const char *const flags[] = { "--memory.reserve=192M", NULL };
static const struct setting setting = { .flags = flags };
static struct client_process workers[WORKERS + 2] /* the last ones: keep_pool(), scribble() */;
static struct fixture *broker;
static uint64_t lives;

static void sleep_ms(uint64_t ms)
{
	const struct timespec t = { .tv_sec = (time_t)(ms / 1000),
				    .tv_nsec = (long)(ms % 1000) * 1000000 };

	nanosleep(&t, NULL);
}

/* ---- a worker ---- */

struct worker {
	struct actor a;
	struct mmb_cache *cache;
	unsigned int place;
	uint64_t random;
	bool is_cut, is_out;
};

/* Its own address at both ends, and how long it is. */
static void sign(uint64_t *p, size_t words)
{
	p[0] = ~(uintptr_t)p;
	p[words - 1] = ~(uintptr_t)p ^ words;
	p[1] = words > 2 ? words : p[1];
}

static bool is_signed(const uint64_t *p)
{
	uint64_t words = p[1];

	if (p[0] != ~(uintptr_t)p)
		return false;
	if (words > (4 << 20) / 8 || words < 3)
		words = 2;
	return p[words - 1] == (~(uintptr_t)p ^ words);
}

static size_t any_words(struct worker *w)
{
	static const size_t tops[] = { 8, 64, 512, 4096, 30000 };

	return 3 + test_below(&w->random, tops[test_below(&w->random, 5)]);
}

static uint64_t *take(struct worker *w)
{
	uint64_t kind = test_below(&w->random, 40);
	size_t words = kind == 0 ? LARGE / 8 : kind < 4 ? OBJECT / 8 : any_words(w);
	bool typed = kind > 0 && kind < 4;
	uint64_t *p = typed ? mmb_cache_alloc(w->cache) : mmb_malloc(w->a.pool, words * 8);

	if (!p && errno == ENOMEM)
		atomic_fetch_add(&table->refused, 1);
	else if (!p && w->is_cut)
		w->is_out = true;
	else if (!p)
		printf("  %zu bytes: %s\n", words * 8, mmb_error());
	CLIENT_EXPECT(p || errno == ENOMEM || (w->is_cut && errno == ENOTCONN));
	if (p)
		sign(p, words);
	return p;
}

static void give(struct worker *w, uint64_t *p)
{
	if (!p)
		return;
	if (!is_signed(p))
		atomic_fetch_add(&table->nr_broken, 1);
	p[0] = 0;
	mmb_free(p);
}

static void grow(struct worker *w, _Atomic uint64_t *slot)
{
	size_t words = any_words(w);
	uint64_t *old = slot_take(slot), *p;

	if (!old)
		return;
	if (!is_signed(old))
		atomic_fetch_add(&table->nr_broken, 1);
	p = mmb_realloc(w->a.pool, old, words * 8);
	if (p)
		sign(p, words);
	atomic_store(slot, (uintptr_t)(p ? p : old));
}

static void one_step(struct worker *w)
{
	_Atomic uint64_t *slot = &table->slots[test_below(&w->random, SLOTS)];
	_Atomic uint64_t *own = &table->own[w->place][test_below(&w->random, MINE)];
	int error;

	switch (test_below(&w->random, 8)) {
	case 0:
		grow(w, own);
		break;
	case 1:
	case 2:
	case 3:
		if (atomic_load(own))
			give(w, slot_take(own));
		else
			atomic_store(own, (uintptr_t)take(w));
		break;
	case 4:
		if (test_below(&w->random, 500) == 0) {
			error = mmb_trim(w->a.pool);
			CLIENT_EXPECT(!error || (w->is_cut && error == -ENOTCONN));
		}
		break;
	default:
		give(w, (uint64_t *)(uintptr_t)atomic_exchange(
				slot, test_below(&w->random, 2) ? (uintptr_t)take(w) : 0));
	}
}

/* Says nonsense on the connection's socket, the last one to the broker: the test's were there
 * before. It was bound under a longer name. */
static void get_cut(void)
{
	struct sockaddr_un name;
	size_t common = strlen(broker->socket);
	int last = -1;

	for (int fd = 3; fd < 256; fd++) {
		socklen_t length = sizeof(name);

		memset(&name, 0, sizeof(name));
		if (!getpeername(fd, (struct sockaddr *)&name, &length) &&
		    !strncmp(name.sun_path, broker->socket, common))
			last = fd;
	}
	CLIENT_EXPECT_EQ(send(last, "nonsense", 8, MSG_NOSIGNAL), 8);
}

/* Works on until nothing can be allocated any more, and lives on with what it has. */
static void work_until_out(struct worker *w)
{
	w->is_cut = true;
	get_cut();
	while (!w->is_out)
		one_step(w);
	for (int i = 0; i < MINE; i++)
		give(w, slot_take(&table->own[w->place][i]));
	atomic_fetch_add(&table->nr_lost, 1);
	atomic_fetch_add(&table->nr_out, 1);
	pause();
}

static void work(struct client_process *self, void *arg)
{
	static struct worker w;

	w.place = (unsigned int)((struct client_process *)arg - workers);
	w.a.socket = broker->socket;
	w.random = test_seed() + lives;
	act_common_pool(&w.a);
	CLIENT_EXPECT_EQ(mmb_cache_open(w.a.pool, "signed", OBJECT, 0, 0, &w.cache), 0);
	while (!atomic_load(&table->finish)) {
		one_step(&w);
		atomic_fetch_add(&table->done[w.place], 1);
		if (atomic_load(&table->cut[w.place]))
			work_until_out(&w);
	}
	for (int i = 0; i < MINE; i++)
		give(&w, slot_take(&table->own[w.place][i]));
	/* Half of them leave by the door. */
	if (w.place % 2)
		mmb_close(w.a.mmb);
	else
		atomic_fetch_add(&table->nr_lost, 1);
}

/* ---- the test ---- */

static void hire(unsigned int i)
{
	lives++;
	client_fork(&workers[i], work, &workers[i]);
	EXPECT(workers[i].pid);
}

/* Keeps the pool alive throughout; then frees what is in the slots, and says what is left. */
static void keep_pool(struct client_process *self, void *arg)
{
	static struct worker w;
	int64_t left = 0;
	const char *json;

	w.a.socket = broker->socket;
	act_common_pool(&w.a);
	client_tell_step(self, 1);
	CLIENT_EXPECT(client_hear_step(self, 2));
	for (int i = 0; i < SLOTS; i++)
		give(&w, slot_take(&table->slots[i]));
	/* That the others have ended is told by and by. */
	for (int64_t before = -1; before != left;) {
		before = left;
		sleep_ms(ADOPT_MS);
		CLIENT_EXPECT_EQ(mmb_trim(w.a.pool), 0);
		json = mmbctl(broker->socket, "pools --json");
		left = json ? json_number(json, "{", "leased") : -1;
	}
	printf("  %lld KiB are leased still, of what the dead had\n", (long long)left / 1024);
	/* What a dead one had gathered for others holds its slabs. */
	CLIENT_EXPECT(left <= (int64_t)atomic_load(&table->nr_lost) * LOST_BYTES);
}

static void begin(unsigned int nr)
{
	if (!table)
		table = mmap(NULL, sizeof(*table), PROT_READ | PROT_WRITE,
			     MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	EXPECT(table != MAP_FAILED);
	memset(table, 0, sizeof(*table));
	broker = stage_begin();
	client_fork(&workers[WORKERS], keep_pool, NULL);
	EXPECT(client_hear_step(&workers[WORKERS], 1));
	for (unsigned int i = 0; i < nr; i++)
		hire(i);
}

static void nobody_ended(unsigned int nr)
{
	for (unsigned int i = 0; i < nr; i++) {
		if (!client_has_ended(&workers[i]))
			continue;
		printf("  process %d\n", workers[i].pid);
		EXPECT_EQ(client_wait(&workers[i]), -ECHILD);
	}
}

static void end(unsigned int nr)
{
	struct client_process *last = &workers[WORKERS];

	atomic_store(&table->finish, true);
	for (unsigned int i = 0; i < nr; i++)
		EXPECT_EQ(client_wait(&workers[i]), 0);
	EXPECT(client_tell_step(last, 2));
	EXPECT_EQ(client_wait(last), 0);
	EXPECT_EQ(atomic_load(&table->nr_broken), 0);
	stage_end();
}

static void kill_some(unsigned int nr, unsigned int seconds)
{
	uint64_t state = test_seed(), kills = 0, done = 0;
	time_t until = time(NULL) + seconds;

	begin(nr);
	while (time(NULL) < until) {
		unsigned int i = (unsigned int)test_below(&state, nr);

		sleep_ms(test_below(&state, KILL_MS));
		nobody_ended(nr);
		client_signal(&workers[i], SIGKILL);
		kills++;
		atomic_fetch_add(&table->nr_lost, 1);
		hire(i);
	}
	for (unsigned int i = 0; i < nr; i++)
		done += atomic_load(&table->done[i]);
	printf("  %u processes, %llu kills, %llu operations, %llu refused\n", nr,
	       (unsigned long long)kills, (unsigned long long)done,
	       (unsigned long long)atomic_load(&table->refused));
	end(nr);
}

static void kills(void)
{
	unsigned int seconds = getenv("MMB_LONG") ? SECONDS_LONG : SECONDS;

	kill_some(2, seconds);
	kill_some(WORKERS, seconds);
}

struct look {
	unsigned int stopped;
	uint64_t before[WORKERS];
};

static bool all_go_on(void *arg)
{
	const struct look *look = arg;

	for (unsigned int i = 0; i < WORKERS; i++)
		if (i != look->stopped && atomic_load(&table->done[i]) == look->before[i])
			return false;
	return true;
}

static void stops(void)
{
	uint64_t state = test_seed();

	begin(WORKERS);
	for (int round = 0; round < STOPS; round++) {
		struct look look = { .stopped = (unsigned int)test_below(&state, WORKERS) };

		sleep_ms(20 + test_below(&state, KILL_MS));
		EXPECT(stop_process(workers[look.stopped].pid));
		/* Several times: the first look may be at what was done before. */
		for (int i = 0; i < LOOKS; i++) {
			for (unsigned int k = 0; k < WORKERS; k++)
				look.before[k] = atomic_load(&table->done[k]);
			sleep_ms(STOP_MS / LOOKS);
			EXPECT(test_wait(all_go_on, &look, STUCK_SECONDS));
		}
		client_signal(&workers[look.stopped], SIGCONT);
		nobody_ended(WORKERS);
	}
	end(WORKERS);
}

/* ---- cuts ---- */

static bool are_out(void *arg)
{
	return atomic_load(&table->nr_out) == *(const unsigned int *)arg;
}

/* Those cut live on, beside others that take over what they had. */
static void cuts(void)
{
	begin(WORKERS);
	for (unsigned int i = 0; i < CUTS; i++) {
		unsigned int out = i + 1;

		sleep_ms(KILL_MS);
		atomic_store(&table->cut[i], true);
		EXPECT(test_wait(are_out, &out, CUT_SECONDS));
		nobody_ended(WORKERS);
	}
	sleep_ms(STOP_MS);
	for (unsigned int i = 0; i < CUTS; i++)
		client_signal(&workers[i], SIGKILL);
	for (unsigned int i = 0; i < CUTS; i++)
		atomic_store(&table->cut[i], false);
	for (unsigned int i = 0; i < CUTS; i++)
		hire(i);
	end(WORKERS);
}

static void hoard(struct client_process *self, void *arg)
{
	static struct worker w;
	void *objects[HOARD];

	w.a.socket = broker->socket;
	act_common_pool(&w.a);
	for (int i = 0; i < HOARD; i++)
		CLIENT_EXPECT((objects[i] = mmb_malloc(w.a.pool, LARGE)));
	/* Its own next tick would return them: it comes later. */
	for (int i = 1; i < HOARD; i++)
		mmb_free(objects[i]);
	get_cut();
	errno = 0;
	while (mmb_malloc(w.a.pool, 64))
		usleep(1000); /* what it gets meanwhile stays in use */
	CLIENT_EXPECT_EQ(errno, ENOTCONN);
	client_tell_step(self, 1);
	pause();
}

static bool is_returned(void *arg)
{
	const char *json;

	EXPECT_EQ(mmb_trim(((struct worker *)arg)->a.pool), 0);
	json = mmbctl(broker->socket, "pools --json");
	return json && json_number(json, "{", "leased") <= LOST_BYTES;
}

static void take_over(struct client_process *self, void *arg)
{
	static struct worker w;

	w.a.socket = broker->socket;
	act_common_pool(&w.a);
	CLIENT_EXPECT(mmb_malloc(w.a.pool, 64));
	client_tell_step(self, 1);
	CLIENT_EXPECT(client_hear_step(self, 2));
	CLIENT_EXPECT(test_wait(is_returned, &w, CUT_SECONDS));
}

static void the_cut_give_back(void)
{
	broker = stage_begin();
	client_fork(&workers[0], take_over, NULL);
	EXPECT(client_hear_step(&workers[0], 1));
	client_fork(&workers[1], hoard, NULL);
	EXPECT(client_hear_step(&workers[1], 1));
	EXPECT(client_tell_step(&workers[0], 2));
	EXPECT_EQ(client_wait(&workers[0]), 0);
	EXPECT(!client_has_ended(&workers[1]));
	client_signal(&workers[1], SIGKILL);
	stage_end();
}

/* ---- scribbles ---- */

/* Pages that a client has put into holes of the slab map go by and by. */
static bool is_verified(void *arg)
{
	const char *answer = mmbctl(broker->socket, "verify");

	return answer && strstr(answer, "0 differences");
}

/* The slab map of this process: one of its mappings. */
static bool find_map(char **at, size_t *bytes)
{
	char line[512];
	FILE *maps = fopen("/proc/self/maps", "r");
	bool found = false;

	while (maps && !found && fgets(line, sizeof(line), maps)) {
		unsigned long first, last;

		if (!strstr(line, "slab") || sscanf(line, "%lx-%lx", &first, &last) != 2)
			continue;
		*at = (char *)first;
		*bytes = last - first;
		found = true;
	}
	if (maps)
		fclose(maps);
	return found;
}

static void scribble(struct client_process *self, void *arg)
{
	uint64_t state = test_seed();
	uint64_t *mine[MINE];
	static struct worker w;
	size_t bytes = 0;
	char *map = NULL;

	w.a.socket = broker->socket;
	w.random = state;
	act_common_pool(&w.a);
	CLIENT_EXPECT_EQ(mmb_cache_open(w.a.pool, "signed", OBJECT, 0, 0, &w.cache), 0);
	for (int i = 0; i < MINE; i++)
		mine[i] = take(&w);
	CLIENT_EXPECT(find_map(&map, &bytes));
	for (;;) {
		uint64_t *object = mine[test_below(&state, MINE)];
		size_t page = test_below(&state, 16) * PAGE;

		if (object)
			object[test_below(&state, 3)] = test_random(&state);
		if (page < bytes)
			map[page + test_below(&state, PAGE)] = (char)test_random(&state);
		if (test_below(&state, 1000) == 0)
			sleep_ms(1);
	}
}

static void bystander(struct actor *a)
{
	uint64_t *objects[100] = { NULL };

	act_pool(a, 0);
	cue(1);
	for (int round = 0; !atomic_load(&table->finish); round++) {
		uint64_t **p = &objects[round % 100];

		if (*p)
			CLIENT_EXPECT(is_stamped(*p, 200, (uintptr_t)*p));
		mmb_free(*p);
		*p = mmb_malloc(a->pool, 200 + (size_t)(round % 7) * 900);
		CLIENT_EXPECT(*p);
		stamp(*p, 200, (uintptr_t)*p);
	}
}

static void scribbles(void)
{
	const struct role role = ROLE(bystander);

	for (int round = 0; round < 3; round++) {
		begin(3);
		stage_cast(&role, 1);
		EXPECT(cue_comes(1));
		client_fork(&workers[WORKERS + 1], scribble, NULL);
		/* Its own pool's clients may end as they like. */
		for (int i = 0; i < 5; i++) {
			sleep_ms(100);
			EXPECT(mmbctl(broker->socket, "slabinfo"));
			EXPECT(mmbctl(broker->socket, "pools --json"));
		}
		for (unsigned int i = 0; i < 3; i++)
			client_signal(&workers[i], SIGKILL);
		EXPECT(!stage_failed());
		client_signal(&workers[WORKERS + 1], SIGKILL);
		EXPECT(test_wait(is_verified, NULL, VERIFY_SECONDS));
		/* And a newcomer, with what all of them have left. */
		hire(0);
		sleep_ms(200);
		client_signal(&workers[0], SIGKILL);
		client_signal(&workers[WORKERS], SIGKILL);
		atomic_store(&table->finish, true);
		EXPECT(stage_ended(0));
		stage_end();
	}
}

static const struct test_case cases[] = {
	{ "two, then eight processes are killed at random: no object is hurt, all comes back",
	  kills },
	{ "a stopped process delays nobody", stops },
	{ "processes that the daemon cuts go on for a while: no object is hurt", cuts },
	{ "what a cut process had comes back while it lives", the_cut_give_back },
	{ "who scribbles over headers and objects hurts its own pool only", scribbles },
	STAGE_STOPS,
};

int main(int argc, char **argv)
{
	stage_set(&setting);
	return test_main(argc, argv, cases, sizeof(cases) / sizeof(cases[0]));
}

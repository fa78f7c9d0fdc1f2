/* SPDX-License-Identifier: Apache-2.0 */
/* player - see player.h */
#include "swap/player.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/clock.h"
#include "lib/touch.h"

enum { ORDER_MS_MAX = 180000, SMALL = 4096, SEEDS_APART = 1000003 };

struct player_exchange {
	struct order  order;
	struct sample sample;
	int           error;
};

/* ---- orders, in the player ---- */

/* What the last run touched is resident: the same accesses again would measure just that. */
static int do_run(struct player *p, const struct order *o, struct sample *out)
{
	struct workload w = { .base = p->base, .pages = p->bytes / WORKLOAD_PAGE,
			      .pattern = o->pattern, .threads = o->threads, .place = o->place,
			      .writes = o->writes, .warm_ms = o->warm_ms, .ms = o->ms,
			      .seed = o->seed + p->runs++ * (uint64_t)SEEDS_APART };

	if (o->kind == ORDER_RECOVER)
		return workload_recover(&w, &out->v[FIGURE_MS]);
	if (p->ran && p->last == o->pattern)
		w.warm_ms /= 8;
	p->ran = true;
	p->last = o->pattern;
	return workload_run(&w, &out->v[FIGURE_RATE]);
}

static int do_out(struct player *p, const struct order *o, struct sample *out)
{
	uint64_t pages = p->bytes / WORKLOAD_PAGE, began, cpu;
	int error;

	workload_fill(p->base, pages);
	cpu = p->memory->cpu_ns(p);
	began = clock_ns();
	error = p->memory->out(p);
	out->v[FIGURE_RATE] = (double)pages * 1e9 / (double)(clock_ns() - began);
	out->v[FIGURE_CPU] = (double)(p->memory->cpu_ns(p) - cpu) / (double)pages;
	return error;
}

/* Timed reads in random order, or of everything in order. */
static int read_back(struct player *p, const struct order *o, struct sample *out)
{
	struct touch touch = { .base = p->base, .page = SMALL,
			       .pages = (uint32_t)(p->bytes / SMALL), .touches = o->touches,
			       .threads = o->threads, .random = o->kind != ORDER_SWEEP,
			       .reads = true, .pause_us = o->pause_us, .seed = o->seed };
	struct sample got = { 0 };
	int error = touch_run(&touch, &got);

	out->v[FIGURE_RATE] = got.v[TOUCH_RATE];
	out->v[FIGURE_P50] = got.v[TOUCH_P50];
	out->v[FIGURE_P99] = got.v[TOUCH_P99];
	return error;
}

/* What came back is checked afterwards, outside the clock: all that is still out comes in. */
static int do_refault(struct player *p, const struct order *o, struct sample *out)
{
	int error = p->memory->empty(p);

	if (error == 0)
		error = read_back(p, o, out);
	return error != 0 ? error : workload_check(p->base, p->bytes / WORKLOAD_PAGE);
}

static int do_take_back(struct player *p, const struct order *o, struct sample *out)
{
	int error = workload_check(p->base, p->bytes / WORKLOAD_PAGE);

	if (error == 0)
		error = p->memory->cold(p);
	return error != 0 ? error : read_back(p, o, out);
}

static int same_check(const struct player *p, uint64_t word)
{
	const volatile uint64_t *words = (const uint64_t *)(const void *)p->base;

	for (uint64_t i = 0; i < p->bytes / sizeof(*words); i += 64) {
		if (words[i] != word)
			return bench_because(-EIO, "word %llu is %llx and was %llx",
					     (unsigned long long)i, (unsigned long long)words[i],
					     (unsigned long long)word);
	}
	return 0;
}

static int do_same(struct player *p, const struct order *o, struct sample *out)
{
	volatile uint64_t *words = (uint64_t *)(void *)p->base;
	uint64_t before, after;
	int error;

	for (uint64_t i = 0; i < p->bytes / sizeof(*words); i++)
		words[i] = o->word;
	error = p->memory->written(p, &before);
	if (error == 0)
		error = p->memory->empty(p);
	if (error == 0)
		error = p->memory->written(p, &after);
	if (error == 0)
		error = same_check(p, o->word);
	workload_fill(p->base, p->bytes / WORKLOAD_PAGE);
	if (error == 0)
		out->v[FIGURE_IO] = (double)(after - before);
	return error;
}

typedef int (*order_fn)(struct player *p, const struct order *o, struct sample *out);
static const order_fn orders[NR_ORDERS] = {
	[ORDER_RUN] = do_run,         [ORDER_RECOVER] = do_run,
	[ORDER_OUT] = do_out,         [ORDER_REFAULT] = do_refault,
	[ORDER_SWEEP] = do_refault,   [ORDER_TAKE_BACK] = do_take_back,
	[ORDER_SAME] = do_same,
};

/* P1 */
static _Noreturn void player_main(struct player *p, pid_t parent)
{
	struct player_exchange *x = p->exchange;
	char byte = 0;
	int error;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(1);
	error = p->memory->take(p);
	if (error == 0)
		workload_fill(p->base, p->bytes / WORKLOAD_PAGE);
	while (read(p->hear, &byte, 1) == 1) {
		memset(&x->sample, 0, sizeof(x->sample));
		x->error = error ? error : orders[x->order.kind](p, &x->order, &x->sample);
		if (write(p->tell, &byte, 1) != 1)
			break;
	}
	_exit(0);
}

/* ---- its starter ---- */

static int start(struct player *p)
{
	int down[2], up[2];
	pid_t parent = getpid();

	p->exchange = mmap(NULL, sizeof(*p->exchange), PROT_READ | PROT_WRITE,
			   MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (p->exchange == MAP_FAILED || pipe2(down, O_CLOEXEC) != 0)
		return bench_because(-errno, "no memory for %s", p->name);
	if (pipe2(up, O_CLOEXEC) != 0) {
		close(down[0]);
		close(down[1]);
		return bench_because(-errno, "pipe: %s", strerror(errno));
	}
	p->pid = fork();
	if (p->pid == 0) {
		p->hear = down[0];
		p->tell = up[1];
		close(down[1]);
		close(up[0]);
		player_main(p, parent);
	}
	close(down[0]);
	close(up[1]);
	p->tell = down[1];
	p->hear = up[0];
	return p->pid > 0 ? 0 : bench_because(-EAGAIN, "fork failed");
}

int player_tell(struct player *p, const struct order *order)
{
	char byte = 0;
	int error = p->pid > 0 ? 0 : start(p);

	if (error != 0)
		return error;
	p->exchange->order = *order;
	if (write(p->tell, &byte, 1) == 1)
		return 0;
	player_stop(p);
	return bench_because(-EPIPE, "it died");
}

/* P2 */
int player_await(struct player *p, struct sample *out)
{
	struct pollfd answer = { .fd = p->hear, .events = POLLIN };
	char byte;
	int ready;

	do {
		ready = poll(&answer, 1, ORDER_MS_MAX);
	} while (ready < 0 && errno == EINTR);
	if (ready > 0 && read(p->hear, &byte, 1) == 1) {
		*out = p->exchange->sample;
		return p->exchange->error;
	}
	player_stop(p);
	if (ready > 0) /* the kernel ends who is out of memory in its group */
		return bench_because(-EPIPE, "it was ended");
	return bench_because(-ETIMEDOUT, "it wasn't done after %d s", ORDER_MS_MAX / 1000);
}

int player_do(struct player *p, const struct order *order, struct sample *out)
{
	int error = player_tell(p, order);

	return error != 0 ? error : player_await(p, out);
}

void player_stop(struct player *p)
{
	if (p->pid <= 0)
		return;
	kill(p->pid, SIGKILL);
	waitpid(p->pid, NULL, 0);
	close(p->tell);
	close(p->hear);
	munmap(p->exchange, sizeof(*p->exchange));
	p->pid = 0;
}

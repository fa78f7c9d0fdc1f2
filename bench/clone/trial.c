/* SPDX-License-Identifier: Apache-2.0 */
/* trial - see trial.h */
#include "clone/trial.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/clock.h"
#include "lib/place.h"
#include "lib/random.h"
#include "lib/raw.h"
#include "lib/stats.h"
#include "lib/touch.h"

enum { TRIAL_MS_MAX = 300000, SAMPLES_MAX = 1 << 21, WARM_MS = 200, SHARE_WRITTEN = 10,
       SLICES = 16, WARM_COPIES = 4 };

struct trial_job {
	const struct trial_args *args;
	const char              *socket;
};

/* ---- one writer who never stops ---- */

/* c: fixed before it starts   a: atomic   o: the writer's, until it has ended */
struct writer {
	const struct subject *s;       /* (c) */
	uint64_t              seed;    /* (c) */
	uint64_t              until;   /* (c) pages to write; 0: until it is stopped */
	_Atomic bool          stop;    /* (a) */
	_Atomic uint64_t      began, ended; /* (a) ns; of the copying, 0: not yet */
	uint64_t             *ns;      /* (o) of the writes after the copy was made */
	size_t                nr;      /* (o) */
	uint64_t              longest; /* (o) of the writes while the copy was made */
	uint64_t              written; /* (o) */
	pthread_t             thread;
};

static void note(struct writer *w, uint64_t before, uint64_t after)
{
	uint64_t began = atomic_load_explicit(&w->began, memory_order_acquire);
	uint64_t ended = atomic_load_explicit(&w->ended, memory_order_acquire);

	if (began == 0 || after < began)
		return;
	if (ended == 0 || before < ended) {
		if (after - before > w->longest)
			w->longest = after - before;
	} else if (w->nr < SAMPLES_MAX) {
		w->ns[w->nr++] = after - before;
	}
}

static void *writer_main(void *arg)
{
	struct writer *w = arg;
	uint64_t pages = w->s->bytes / SUBJECT_SMALL, random = w->seed, before = clock_ns();

	place_self(0);
	while (!atomic_load_explicit(&w->stop, memory_order_relaxed) &&
	       (w->until == 0 || w->written < w->until)) {
		uint64_t page = random_below(&random, pages), after;

		*(volatile uint64_t *)(void *)(w->s->base + page * SUBJECT_SMALL) = page;
		after = clock_ns();
		note(w, before, after);
		before = after;
		w->written++;
	}
	return NULL;
}

static int writer_start(struct writer *w)
{
	w->ns = malloc(SAMPLES_MAX * sizeof(*w->ns));
	if (w->ns == NULL)
		return bench_because(-ENOMEM, "no memory for samples");
	memset(w->ns, 0, SAMPLES_MAX * sizeof(*w->ns));
	if (pthread_create(&w->thread, NULL, writer_main, w) != 0)
		return bench_because(-EAGAIN, "no thread");
	return 0;
}

/* ---- trials ---- */

static int try_copy(struct subject *s, const struct trial_args *args, struct sample *out)
{
	uint64_t before = clock_ns(), after;
	int error = s->kind->copy(s);

	after = clock_ns();
	out->v[FIGURE_COPY] = (double)(after - before);
	if (error != 0)
		return error;
	before = clock_ns();
	error = s->kind->drop(s);
	out->v[FIGURE_DROP] = (double)(clock_ns() - before);
	return error;
}

static struct touch touch_of(char *base, const struct trial_args *args)
{
	enum trial trial = args->trial;

	return (struct touch){
		.base = base,
		.page = args->page,
		.pages = (uint32_t)(args->bytes / args->page),
		.touches = args->touches,
		.threads = 1,
		.random = trial != TRIAL_OVERWRITE && trial != TRIAL_SCAN,
		.reads = trial == TRIAL_READ || trial == TRIAL_SCAN,
		.seed = args->seed,
	};
}

/* The original is written, and the copy must not notice. */
static int try_write(struct subject *s, const struct trial_args *args, struct sample *out)
{
	struct touch touch = touch_of(s->base, args);
	int error = s->kind->copy(s);

	if (error == 0 && args->trial == TRIAL_WRITE_SEEN && s->copy_base != NULL)
		error = subject_check(s, s->copy_base);
	if (error == 0)
		error = touch_run(&touch, out);
	if (error == 0 && s->copy_base != NULL)
		error = subject_check(s, s->copy_base);
	return error;
}

/* So few touches are over before the threads that serve them know where the toucher is. */
static int warm_up(struct subject *s, const struct trial_args *args, struct sample *unused)
{
	struct touch touch;
	int error = 0;

	for (unsigned int i = 0; i < WARM_COPIES && error == 0; i++) {
		error = s->kind->copy(s);
		touch = touch_of(s->copy_base, args);
		touch.reads = true;
		if (error == 0)
			error = touch_run(&touch, unused);
		if (error == 0)
			error = s->kind->drop(s);
	}
	return error;
}

/* The copy is touched, and the original must not notice. */
static int try_copys(struct subject *s, const struct trial_args *args, struct sample *out)
{
	struct touch touch;
	int error = args->page == SUBJECT_HUGE ? warm_up(s, args, out) : 0;

	if (error == 0)
		error = s->kind->copy(s);
	if (error != 0)
		return error;
	touch = touch_of(s->copy_base, args);
	error = touch_run(&touch, out);
	if (error == 0 && args->trial != TRIAL_DIVERGE)
		error = subject_check(s, s->copy_base);
	return error != 0 ? error : subject_check(s, s->base);
}

static int count_mappings(const struct subject *s, double *nr)
{
	uint64_t start = (uintptr_t)s->copy_base, from, to;
	char line[512];
	FILE *f = fopen("/proc/self/maps", "re");

	if (f == NULL)
		return bench_because(-errno, "/proc/self/maps: %s", strerror(errno));
	*nr = 0;
	while (fgets(line, sizeof(line), f) != NULL)
		if (sscanf(line, "%" SCNx64 "-%" SCNx64, &from, &to) == 2)
			*nr += from < start + s->bytes && to > start;
	fclose(f);
	return 0;
}

static int try_mappings(struct subject *s, const struct trial_args *args, struct sample *out)
{
	int error = s->kind->copy(s);

	out->v[FIGURE_MAPPINGS] = 0;
	for (unsigned int i = 0; i < SLICES && error == 0; i++) {
		struct touch touch = touch_of(s->copy_base, args);
		struct sample unused;
		double nr = 0;

		touch.touches /= SLICES;
		touch.seed += i;
		error = touch_run(&touch, &unused);
		if (error == 0)
			error = count_mappings(s, &nr);
		if (nr > out->v[FIGURE_MAPPINGS])
			out->v[FIGURE_MAPPINGS] = nr;
	}
	return error != 0 ? error : subject_check(s, s->base);
}

static int try_tail(struct subject *s, const struct trial_args *args, struct sample *out)
{
	struct writer w = { .s = s, .seed = args->seed };
	int error = writer_start(&w);

	if (error != 0)
		return error;
	place_self(1);
	clock_sleep_ms(WARM_MS);
	atomic_store(&w.began, clock_ns());
	error = s->kind->copy(s);
	atomic_store(&w.ended, clock_ns());
	clock_sleep_ms(args->ms);
	atomic_store(&w.stop, true);
	pthread_join(w.thread, NULL);
	if (error == 0 && w.nr == 0)
		error = bench_because(-EIO, "no write in %u ms", args->ms);
	if (error != 0)
		return error;
	stats_sort(w.ns, w.nr);
	out->v[FIGURE_P99] = (double)stats_permille(w.ns, w.nr, 990);
	out->v[FIGURE_LONGEST] = (double)w.longest;
	return 0;
}

static int open_file(const struct trial_args *args)
{
	char path[256];
	int fd;

	snprintf(path, sizeof(path), "%.200s/mmb-bench-stream-%d", args->folder, (int)getpid());
	fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_DIRECT | O_CLOEXEC, 0600);
	if (fd < 0)
		return bench_because(errno == EINVAL ? BENCH_SKIP : -errno, "%s, O_DIRECT: %s",
				     path, strerror(errno));
	unlink(path);
	if (posix_fallocate(fd, 0, (off_t)args->bytes) != 0) {
		close(fd);
		return bench_because(BENCH_SKIP, "no room for %s", path);
	}
	return fd;
}

/* A tenth of the pages is written at random while somebody streams the copy to the disk. */
static int stream(struct subject *s, const struct trial_args *args, int fd, struct sample *out)
{
	struct writer w = { .s = s, .seed = args->seed,
			    .until = args->bytes / SUBJECT_SMALL / SHARE_WRITTEN };
	uint64_t before = 0, after = 0, began;
	int error = s->kind->memory(s, &before), late;

	if (error == 0)
		error = s->kind->copy(s);
	if (error == 0)
		error = s->kind->stream(s, fd);
	if (error != 0)
		return error;
	began = clock_ns();
	error = writer_start(&w);
	if (error != 0)
		return error;
	pthread_join(w.thread, NULL);
	out->v[FIGURE_RATE] = (double)w.written * 1e9 / (double)(clock_ns() - began);
	error = s->kind->memory(s, &after);
	late = s->kind->streamed(s);
	out->v[FIGURE_GROWTH] = (double)after - (double)before;
	out->v[FIGURE_WRITTEN] = (double)(w.written * SUBJECT_SMALL);
	return error != 0 ? error : late;
}

static int try_stream(struct subject *s, const struct trial_args *args, struct sample *out)
{
	int fd = open_file(args), error;

	if (fd < 0 || fd == BENCH_SKIP)
		return fd;
	error = stream(s, args, fd, out);
	close(fd);
	return error;
}

typedef int (*trial_fn)(struct subject *s, const struct trial_args *args, struct sample *out);
static const trial_fn trials[NR_TRIALS] = {
	[TRIAL_COPY] = try_copy,        [TRIAL_WRITE] = try_write,
	[TRIAL_WRITE_SEEN] = try_write, [TRIAL_OVERWRITE] = try_write,
	[TRIAL_READ] = try_copys,       [TRIAL_SCAN] = try_copys,
	[TRIAL_DIVERGE] = try_copys,    [TRIAL_TAIL] = try_tail,
	[TRIAL_STREAM] = try_stream,    [TRIAL_MAPPINGS] = try_mappings,
};

static int trial_child(void *arg, struct sample *out)
{
	const struct trial_job *job = arg;
	const struct trial_args *args = job->args;
	struct subject s = { .kind = args->kind, .socket = job->socket, .bytes = args->bytes,
			     .page = args->page, .overcommit = args->overcommit };
	int error = args->kind->take(&s);

	if (error != 0)
		return error;
	subject_fill(&s);
	return trials[args->trial](&s, args, out);
}

int trial_side(struct bench *b, const void *arg, struct sample *out)
{
	struct trial_job job = { .args = arg, .socket = b->socket };

	return raw_child_run(b->socket, trial_child, &job, TRIAL_MS_MAX, out);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * objects - two processes, one pool: records made in one, read and freed in the other
 *
 * What goes through the pipe are pointers: an object has the same address in every client of its
 * pool, and may point to others.
 */
#include <mmbroker.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { RECORDS = 100000 };

struct record {
	struct record *next; /* good in both processes */
	unsigned long  number;
	char          *text;
};

/* A connection is a process's own: each opens one, after the fork. */
struct client {
	struct mmb       *broker;
	struct mmb_pool  *pool;
	struct mmb_cache *records;
};

static int fail(const char *who)
{
	fprintf(stderr, "objects: %s: %s\n", who, mmb_error());
	return 1;
}

static int client_open(struct client *c)
{
	return mmb_open(NULL, NULL, &c->broker) ||
	       mmb_pool_open(c->broker, "objects", MMB_POOL_CREATE, NULL, &c->pool) ||
	       mmb_cache_open(c->pool, "records", sizeof(struct record), 0, 0, &c->records);
}

/* A list of records; what they point to is of any size. */
static int produce(int to)
{
	struct record *list = NULL;
	struct client c;
	char text[64];

	if (client_open(&c))
		return fail("producer");
	for (unsigned long i = 0; i < RECORDS; i++) {
		struct record *r = mmb_cache_alloc(c.records);
		int length = snprintf(text, sizeof(text), "record %lu of %d", i, RECORDS);

		if (!r || !(r->text = mmb_malloc(c.pool, (size_t)length + 1)))
			return fail("producer");
		memcpy(r->text, text, (size_t)length + 1);
		r->number = i;
		r->next = list;
		list = r;
	}
	if (write(to, &list, sizeof(list)) != sizeof(list))
		return 1;
	mmb_close(c.broker); /* objects of a shared pool stay while somebody has it open */
	return 0;
}

static int consume(struct client *c, int from)
{
	unsigned long records = 0, wrong = 0;
	struct record *list, *next;
	char text[64];

	if (read(from, &list, sizeof(list)) != sizeof(list))
		return 1;
	for (; list; list = next, records++) {
		snprintf(text, sizeof(text), "record %lu of %d", list->number, RECORDS);
		wrong += strcmp(text, list->text) != 0;
		next = list->next;
		mmb_free(list->text);
		mmb_cache_free(c->records, list);
	}
	printf("%lu records made in one process, read and freed in another, %lu wrong\n", records,
	       wrong);
	return wrong || records != RECORDS;
}

int main(void)
{
	struct client c;
	int ends[2], ready[2], status = 1;
	char step;
	pid_t pid;

	if (pipe(ends) || pipe(ready) || (pid = fork()) < 0)
		return 1;
	if (!pid) {
		/* The pool is open over there before anything is in it. */
		close(ready[1]);
		return read(ready[0], &step, 1) == 1 ? produce(ends[1]) : 1;
	}
	close(ends[1]);
	if (client_open(&c))
		return fail("consumer");
	if (write(ready[1], "r", 1) == 1)
		status = consume(&c, ends[0]);
	mmb_close(c.broker);
	if (waitpid(pid, &ends[0], 0) != pid || ends[0])
		status = 1;
	return status;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * service_client - a client that checks what it wrote, whenever it is told to
 *
 * usage: service_client SOCKET PAGES [NAME]      NAME: of a shared region in the pool "service"
 *
 * Each page holds a number of its own and of its generation. Answers lines on stdin with one on
 * stdout:
 *   fill      "filled"                  a new generation in every page
 *   check     "good", "wrong PAGE VALUE", or "sigbus CAUSE" at the first page that says so
 *   pageout   "out", or "failed ..."    all pages to the disk, if there is swap
 *   pageouts  the same, after twenty times, with new contents each time
 *   ping      "pong", or "gone SENTENCE" when the connection is
 *   close     "closed": the connection, as a program does at its end
 */
#include <mmbroker.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PAGE_BYTES = 4096, WORDS = PAGE_BYTES / 8, ROUNDS = 20 };

static sigjmp_buf                     on_bus;
static void *volatile                 bus_address;
static volatile unsigned long *memory;
static unsigned long                  nr_pages, generation;

static void bus(int number, siginfo_t *info, void *context)
{
	bus_address = info->si_addr;
	siglongjmp(on_bus, 1);
}

static unsigned long value_of(unsigned long page)
{
	return (page + 1) * 0x9e3779b97f4a7c15ul + generation;
}

/* Objects are in use, free, and on their way back to the broker. */
static void use_objects(struct mmb_pool *pool)
{
	enum { NR = 300, BYTES = 3000 };
	static char *kept;
	char *objects[NR];

	mmb_free(kept);
	for (int i = 0; i < NR; i++)
		objects[i] = mmb_malloc(pool, BYTES);
	for (int i = 0; i < NR; i++) {
		if (objects[i])
			memset(objects[i], i, BYTES);
		if (i)
			mmb_free(objects[i]);
	}
	kept = objects[0];
}

static void write_all(void)
{
	generation++;
	for (unsigned long page = 0; page < nr_pages; page++) {
		memory[page * WORDS] = value_of(page);
		memory[page * WORDS + WORDS - 1] = ~value_of(page);
	}
}

static void fill(struct mmb_pool *pool)
{
	use_objects(pool);
	write_all();
	puts("filled");
}

static void check(void)
{
	struct mmb_fault_info info = { .size = sizeof(info) };

	if (sigsetjmp(on_bus, 1)) {
		int r = mmb_fault_info(bus_address, &info);

		printf("sigbus %s\n", r ? "without a cause" : info.cause);
		return;
	}
	for (unsigned long page = 0; page < nr_pages; page++) {
		unsigned long first = memory[page * WORDS];
		unsigned long last = memory[page * WORDS + WORDS - 1];

		if (first != value_of(page) || last != ~value_of(page)) {
			printf("wrong %lu %lx %lx\n", page, first, last);
			return;
		}
	}
	puts("good");
}

/* A call that the daemon has to answer. */
static void ping(struct mmb_pool *pool)
{
	struct mmb_pool_stat stat = { .size = sizeof(stat) };

	if (mmb_pool_stat(pool, &stat))
		printf("gone %s\n", mmb_error());
	else
		puts("pong");
}

static void pageout(struct mmb_region *region)
{
	if (mmb_region_advise(region, 0, nr_pages * PAGE_BYTES, MMB_ADVISE_PAGEOUT))
		printf("failed pageout: %s\n", mmb_error());
	else
		puts("out");
}

static void pageouts(struct mmb_region *region)
{
	for (int i = 0; i < ROUNDS - 1; i++) {
		write_all();
		mmb_region_advise(region, 0, nr_pages * PAGE_BYTES, MMB_ADVISE_PAGEOUT);
	}
	pageout(region);
}

static void close_all(struct mmb *mmb)
{
	if (sigsetjmp(on_bus, 1)) {
		puts("sigbus in mmb_close");
		return;
	}
	mmb_close(mmb);
	puts("closed");
}

static int fail(const char *what)
{
	printf("failed %s: %s\n", what, mmb_error());
	return 1;
}

int main(int argc, char **argv)
{
	struct sigaction   action = { .sa_sigaction = bus, .sa_flags = SA_SIGINFO };
	struct mmb        *mmb;
	struct mmb_pool   *pool;
	struct mmb_region *region;
	char               line[64];

	if (argc < 3)
		return 2;
	setvbuf(stdout, NULL, _IOLBF, 0);
	sigaction(SIGBUS, &action, NULL);
	nr_pages = strtoul(argv[2], NULL, 10);
	if (mmb_open(argv[1], NULL, &mmb))
		return fail("open");
	if (mmb_pool_open(mmb, "service", MMB_POOL_CREATE, NULL, &pool))
		return fail("pool");
	if (argc > 3 ? mmb_region_open(pool, argv[3], nr_pages * PAGE_BYTES, MMB_REGION_CREATE,
				       NULL, &region)
		     : mmb_region_create(pool, nr_pages * PAGE_BYTES, NULL, &region))
		return fail("region");
	memory = mmb_region_address(region);
	puts("ready");
	while (fgets(line, sizeof(line), stdin)) {
		if (!strcmp(line, "fill\n"))
			fill(pool);
		else if (!strcmp(line, "check\n"))
			check();
		else if (!strcmp(line, "pageout\n"))
			pageout(region);
		else if (!strcmp(line, "pageouts\n"))
			pageouts(region);
		else if (!strcmp(line, "close\n"))
			close_all(mmb);
		else
			ping(pool);
	}
	return 0;
}

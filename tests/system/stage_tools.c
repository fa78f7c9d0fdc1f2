/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stage_tools - what scenes use beside the library: mmbctl's word, the host's memory, touches
 *
 * Locking     none; a touch belongs to the thread that makes it.
 */
#include "system/stage.h"

#include <dirent.h>
#include <errno.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char nr_hugepages_file[] = "/proc/sys/vm/nr_hugepages";

/* ---- mmbctl ---- */

static char *read_stream(FILE *stream)
{
	char *text = NULL;
	size_t have = 0, room = 0, got;

	do {
		room += 65536;
		text = realloc(text, room + 1);
		if (!text)
			return NULL;
		got = fread(text + have, 1, room - have, stream);
		have += got;
	} while (have == room);
	text[have] = '\0';
	return text;
}

/* In front of a command that was given before in the same words: it needn't be looked through for
 * leaks again, which takes three times as long as all else that such a program does. */
static const char *without_leaks(const char *arguments)
{
#ifdef __SANITIZE_ADDRESS__
	enum { MOST = 64 };
	static char *given[MOST];
	unsigned int i = 0;

	while (i < MOST && given[i] && strcmp(given[i], arguments))
		i++;
	if (i < MOST && given[i])
		return "ASAN_OPTIONS=\"$ASAN_OPTIONS:detect_leaks=0\"";
	if (i < MOST)
		given[i] = strdup(arguments);
#endif
	return "";
}

const char *mmbctl(const char *socket, const char *arguments)
{
	static char *text;
	const char *program = getenv("MMB_MMBCTL");
	char command[512];
	FILE *stream;
	int status;

	snprintf(command, sizeof(command), "%s '%s' --socket='%s' %s 2>&1",
		 without_leaks(arguments), program ? program : "mmbctl", socket, arguments);
	free(text);
	text = NULL;
	fflush(stdout);
	stream = popen(command, "re");
	if (!stream)
		return NULL;
	text = read_stream(stream);
	status = pclose(stream);
	if (!status && text)
		return text;
	printf("  %s: status %d: %s\n", command, status, text ? text : "");
	return NULL;
}

const char *mmbctl_maps(const char *socket, pid_t pid)
{
	char mark[32], arguments[32];
	int64_t id;

	snprintf(mark, sizeof(mark), "\"pid\":%d,", pid);
	id = json_number(mmbctl(socket, "sessions --json"), mark, "id");
	snprintf(arguments, sizeof(arguments), "maps %lld", (long long)id);
	return id < 0 ? NULL : mmbctl(socket, arguments);
}

unsigned int occurrences(const char *text, const char *part)
{
	unsigned int nr = 0;

	for (; text && (text = strstr(text, part)); text++)
		nr++;
	return nr;
}

/* Between two places of a text, the number after "key":. */
static bool number_between(const char *from, const char *to, const char *key, int64_t *value)
{
	size_t length = strlen(key);

	for (const char *at = strstr(from, key); at && at < to; at = strstr(at + 1, key)) {
		if (at == from || at[-1] != '"' || strncmp(at + length, "\":", 2))
			continue;
		*value = strtoll(at + length + 2, NULL, 10);
		return true;
	}
	return false;
}

int64_t json_number(const char *json, const char *mark, const char *key)
{
	const char *at = json ? strstr(json, mark) : NULL;
	const char *begin = at, *end;
	int64_t value = -1;

	if (!at)
		return -1;
	while (begin > json && *begin != '{')
		begin--;
	end = strchr(at, '}');
	end = end ? end : at + strlen(at);
	if (!number_between(at, end, key, &value))
		number_between(begin, at, key, &value);
	return value;
}

int64_t line_number(const char *text, const char *name)
{
	size_t length = strlen(name);

	while (text && *text) {
		const char *line = text + strspn(text, " ");

		if (!strncmp(line, name, length)) {
			line += length;
			line += strspn(line, ": \t");
			return strtoll(line, NULL, 10);
		}
		text = strchr(text, '\n');
		text = text ? text + 1 : NULL;
	}
	return -1;
}

/* ---- the host ---- */

int64_t host_memory(const char *name)
{
	FILE *stream = fopen("/proc/meminfo", "re");
	char *text = stream ? read_stream(stream) : NULL;
	int64_t value = text ? line_number(text, name) : -1;

	if (stream)
		fclose(stream);
	free(text);
	return value;
}

static int64_t added;

static int64_t hugepages_change(int64_t by)
{
	FILE *file = fopen(nr_hugepages_file, "r+e");
	long long now;

	if (!file)
		return -1;
	if (fscanf(file, "%lld", &now) != 1)
		now = -1;
	if (now >= 0 && by) {
		rewind(file);
		fprintf(file, "%lld\n", now + (long long)by);
	}
	fclose(file);
	return now;
}

static void put_back(void)
{
	hugepages_change(-added);
}

bool hugepages_get(unsigned int nr)
{
	int64_t before;

	if (host_memory("HugePages_Free") - host_memory("HugePages_Rsvd") >= nr)
		return true;
	if (geteuid() || added || host_memory("Hugepagesize") != HUGE_PAGE / 1024)
		return false;
	before = hugepages_change(nr);
	if (before < 0)
		return false;
	added = hugepages_change(0) - before;
	atexit(put_back);
	return added >= nr;
}

/* Of one thread: T is what SIGSTOP makes of it. */
static bool thread_is_stopped(pid_t pid, const char *tid)
{
	char path[64], text[256], *bracket;
	FILE *stat;
	bool stopped = false;

	snprintf(path, sizeof(path), "/proc/%d/task/%.16s/stat", pid, tid);
	stat = fopen(path, "re");
	if (!stat)
		return true;
	bracket = fgets(text, sizeof(text), stat) ? strrchr(text, ')') : NULL;
	stopped = bracket && bracket[2] == 'T';
	fclose(stat);
	return stopped;
}

static bool all_threads_stopped(void *arg)
{
	pid_t pid = *(pid_t *)arg;
	char path[64];
	struct dirent *entry;
	bool stopped = true;
	DIR *folder;

	snprintf(path, sizeof(path), "/proc/%d/task", pid);
	folder = opendir(path);
	if (!folder)
		return false;
	while (stopped && (entry = readdir(folder)))
		stopped = entry->d_name[0] == '.' || thread_is_stopped(pid, entry->d_name);
	closedir(folder);
	return stopped;
}

bool stop_process(pid_t pid)
{
	return !kill(pid, SIGSTOP) && test_wait(all_threads_stopped, &pid, 10);
}

void need_root(const char *what_for)
{
	static char reason[128];

	if (!geteuid())
		return;
	snprintf(reason, sizeof(reason), "%s needs root", what_for);
	SKIP(reason);
}

void act_on_cpu(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	CLIENT_EXPECT_EQ(sched_setaffinity(0, sizeof(set), &set), 0);
}

/* ---- touches ---- */

static _Thread_local sigjmp_buf leave;
static _Thread_local volatile sig_atomic_t is_touching;

static void on_signal(int number)
{
	if (is_touching)
		siglongjmp(leave, number);
	signal(number, SIG_DFL);
	raise(number);
}

static void catch_signals(void)
{
	struct sigaction action = { .sa_handler = on_signal, .sa_flags = SA_NODEFER };

	sigaction(SIGBUS, &action, NULL);
	sigaction(SIGSEGV, &action, NULL);
}

int touch_read(const void *at, char *value)
{
	int number;

	catch_signals();
	number = sigsetjmp(leave, 1);
	if (!number) {
		is_touching = 1;
		*value = *(const volatile char *)at;
	}
	is_touching = 0;
	return number;
}

int touch_write(void *at, char value)
{
	int number;

	catch_signals();
	number = sigsetjmp(leave, 1);
	if (!number) {
		is_touching = 1;
		*(volatile char *)at = value;
	}
	is_touching = 0;
	return number;
}

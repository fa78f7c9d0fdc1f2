/* SPDX-License-Identifier: Apache-2.0 */
/*
 * doctor - the verb that checks this host
 *
 * Purpose     Asks a running broker who it is, runs the checks, prints the findings. Exit status
 *             1 if one of them is a failure.
 */
#include "tools/doctor.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/human.h"
#include "tools/json.h"
#include "tools/rpc.h"

void finding_add(struct doctor *d, const char *check, enum finding_level level, const char *format,
		 ...)
{
	struct finding *f = &d->findings[d->nr_findings];
	va_list         args;

	if (d->nr_findings == FINDINGS_MAX)
		abort();
	d->nr_findings++;
	f->check = check;
	f->level = level;
	f->fix[0] = '\0';
	va_start(args, format);
	vsnprintf(f->sentence, sizeof(f->sentence), format, args);
	va_end(args);
}

void finding_fix(struct doctor *d, const char *format, ...)
{
	struct finding *f = &d->findings[d->nr_findings - 1];
	va_list         args;

	va_start(args, format);
	vsnprintf(f->fix, sizeof(f->fix), format, args);
	va_end(args);
}

bool doctor_read(const char *path, char *line, unsigned int capacity)
{
	FILE *in = fopen(path, "re");
	bool  got;

	if (!in)
		return false;
	got = fgets(line, (int)capacity, in) != NULL;
	fclose(in);
	if (got)
		line[strcspn(line, "\n")] = '\0';
	return got;
}

bool doctor_read_number(const char *path, uint64_t *value)
{
	char line[64];

	return doctor_read(path, line, sizeof(line)) && sscanf(line, "%" SCNu64, value) == 1;
}

/* ---- the broker itself ---- */

static void broker_version(struct doctor *d, const Mmb__Wire__StatusReply *s)
{
	if (strcmp(s->version, MMB_VERSION) == 0) {
		finding_add(d, "broker", FINDING_OK, "mmbrokerd %s runs as process %" PRIu64 ".",
			    s->version, s->pid);
		return;
	}
	finding_add(d, "broker", FINDING_WARN,
		    "mmbrokerd %s runs as process %" PRIu64 ", this mmbctl is %s.", s->version,
		    s->pid, MMB_VERSION);
	if (doctor_asks_systemd(d))
		finding_fix(d, "systemctl restart mmbrokerd");
	else
		finding_fix(d, "kill -USR2 %" PRIu64 " # with --supervise the next one goes on",
			    s->pid);
}

static void broker_state(struct doctor *d, const Mmb__Wire__StatusReply *s)
{
	if (s->poisoned) {
		finding_add(d, "poisoned", FINDING_WARN,
			    "%" PRIu64 " pages were poisoned since the broker started; its log has "
			    "the causes.",
			    s->poisoned);
		finding_fix(d, "%s", doctor_asks_systemd(d)
					     ? "journalctl -u mmbrokerd -p warning"
					     : "mmbctl log-level debug");
	}
	if (s->unread_descriptors > s->unread_descriptors_max / 4) {
		finding_add(d, "unread", FINDING_WARN,
			    "Clients leave %" PRIu64 " descriptors unread, of at most %" PRIu64
			    " (half of LimitNOFILE): their users are served nothing new until "
			    "these are taken; the log names them.",
			    s->unread_descriptors, s->unread_descriptors_max);
		finding_fix(d, "mmbctl --socket %s sessions", s->socket);
	} else {
		finding_add(d, "unread", FINDING_OK,
			    "Clients take the descriptors that they have asked for.");
	}
	if (strcmp(s->reserve_mode, "account") == 0) {
		finding_add(d, "reserve_mode", FINDING_WARN,
			    "The reserve is only counted, so other programs can take that memory "
			    "first.");
		finding_fix(d, "mmbrokerd --memory.reserve_mode=hold");
	} else {
		finding_add(d, "reserve_mode", FINDING_OK, "The reserve is held for real.");
	}
}

/* What a broker says that answers; what is wrong if none does. */
static void doctor_broker(struct doctor *d, const struct invocation *in)
{
	Mmb__Wire__Empty        request = MMB__WIRE__EMPTY__INIT;
	const ProtobufCMessage *reply;
	struct rpc              r;
	int                     code = rpc_open(&r, in);

	if (code == CTL_DONE)
		code = rpc_call(&r, MMB_METHOD_STATUS, &request.base, &reply);
	snprintf(d->socket, sizeof(d->socket), "%s", r.path);
	if (code == CTL_DONE) {
		const Mmb__Wire__StatusReply *s = (const Mmb__Wire__StatusReply *)reply;

		d->pid = (pid_t)s->pid;
		broker_version(d, s);
		broker_state(d, s);
		finding_add(d, "socket", FINDING_OK, "%s answers.", r.path);
	} else if (code == CTL_NOT_RUNNING) {
		finding_add(d, "socket", FINDING_WARN, "No broker runs at %s.", r.path);
		if (doctor_has_systemd())
			finding_fix(d, "systemctl start mmbrokerd");
		else
			finding_fix(d, "mmbrokerd --supervise --socket %s", r.path);
	} else {
		finding_add(d, "socket", FINDING_FAIL, "%s.", r.error);
		if (code == CTL_DENIED)
			finding_fix(d, "ls -l %s; id", r.path);
		else if (doctor_has_systemd())
			finding_fix(d, "journalctl -u mmbrokerd -n 50");
		else
			finding_fix(d, "ps -o pid,stat,wchan,cmd -p $(cat %s.lock) # T: kill -CONT",
				    r.path);
	}
	rpc_close(&r);
}

/* ---- printing ---- */

static const char *const level_names[] = { "ok", "warn", "fail" };

static void print_finding(const struct finding *f, bool color)
{
	static const char *const colors[] = { "\033[32m", "\033[33m", "\033[31m" };

	printf("%s%-4s%s  %-20s ", color ? colors[f->level] : "", level_names[f->level],
	       color ? "\033[0m" : "", f->check);
	human_put(stdout, f->sentence);
	if (f->fix[0] != '\0') {
		printf("\n%-27sfix: ", "");
		human_put(stdout, f->fix);
	}
	putchar('\n');
}

static void print_json(const struct finding *f)
{
	struct json j;

	json_begin(&j, stdout);
	json_string(&j, "check", f->check);
	json_string(&j, "level", level_names[f->level]);
	json_string(&j, "sentence", f->sentence);
	json_string(&j, "fix", f->fix);
	json_end(&j);
}

int run_doctor(const struct invocation *in)
{
	struct doctor d = { 0 };
	int           code = CTL_DONE;

	doctor_broker(&d, in);
	doctor_kernel(&d);
	doctor_userfaultfd(&d);
	doctor_memory(&d);
	doctor_limits(&d);
	doctor_service(&d);
	for (unsigned int i = 0; i < d.nr_findings; i++) {
		if (in->json)
			print_json(&d.findings[i]);
		else
			print_finding(&d.findings[i], in->color);
		if (d.findings[i].level == FINDING_FAIL)
			code = CTL_FAILED;
	}
	return code;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * main - mmbrokerd: configuration, broker, socket, signals, end
 *
 * Purpose     Puts the floors together and waits for a signal. Exit statuses are those of
 *             sysexits.h; 78 says that this host can't run it or the configuration is wrong.
 * Crash       A start that fails where clients wait leaves everything as a crash would: whoever
 *             restarts this program tries again.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sysexits.h>
#include <unistd.h>

#include "app/activation.h"
#include "app/config.h"
#include "app/config_check.h"
#include "app/config_kept.h"
#include "app/config_value.h"
#include "app/crash.h"
#include "app/fdstore.h"
#include "app/notify.h"
#include "app/reload.h"
#include "app/service.h"
#include "app/supervisor.h"
#include "app/watchdog.h"
#include "base/log.h"
#include "client/broker.h"
#include "client/resume.h"
#include "ipc/adopt.h"
#include "ipc/server.h"
#include "mm/phys/zone.h"
#include "os/holdup.h"
#include "os/keep.h"
#include "os/process.h"
#include "proto/methods.h"

enum { NOT_WANTED = -1 }; /* in place of an exit status: a signal ended the start */
enum { DRAIN_MS = 1000, OPERATION_TIMEOUT_MS = 30000, POOLS_PER_UID = 1024 };

/* What got the number of a closed standard error would be logged to: the state, or a socket. */
static void fill_standard_descriptors(void)
{
	int fd;

	do
		fd = open("/dev/null", O_RDONLY);
	while (fd >= STDIN_FILENO && fd <= STDERR_FILENO);
	if (fd >= 0)
		close(fd);
}

/* No other time would help: what a key names can't be that, or this kernel can't serve. */
static bool is_wrong(int error)
{
	switch (-error) {
	case ENOSYS:
	case EINVAL:
	case ENOMEM:
	case ELOOP:
	case EISDIR:
	case ENOTDIR:
	case EFBIG:
	case EOPNOTSUPP:
		return true;
	default:
		return false;
	}
}

static int start_broker(const struct config *config, char **argv)
{
	struct broker_config want = {
		.reserve = config->memory_reserve,
		.reserve_huge = config->memory_reserve_huge,
		.hold = config->memory_reserve_mode == RESERVE_HOLD,
		.slub_debug = config->memory_slub_debug[0] ? config->memory_slub_debug : NULL,
		.swap_path = config->swap_path[0] ? config->swap_path : NULL,
		.swap_bytes = config->swap_size,
		.swap_by_threads = config->swap_io == 1,
		.fault_deadline_ms = config->memory_fault_deadline,
		.fault_threads = config->memory_fault_threads,
		.is_unwanted = service_is_to_end,
		.limits = {
			.sessions = config->limits_sessions,
			.sessions_per_uid = config->limits_sessions_per_uid,
			.regions_per_session = config->limits_regions_per_session,
			.regions_per_uid = fdstore_share(config->limits_sessions,
							 config->limits_regions_per_uid),
			.pools_per_uid = POOLS_PER_UID,
			.span_per_uid = config->limits_span_per_uid,
		},
	};
	char place[CONFIG_PLACE_BYTES];
	struct refusal why;
	int r;

	zones_set_watermark_scale(config->memory_watermark_scale_factor);
	r = broker_start(&want, &why);
	if (!r)
		return EX_OK;
	if (r == -EINTR && service_is_to_end()) {
		log_emit(LOG_NOTICE, "stopping", "before the reserve was taken");
		return NOT_WANTED;
	}
	config_place_of(config, why.text, place);
	log_emit(LOG_ERR, "start_failed", "%s%s", place, why.text);
	if (r == -EPROTONOSUPPORT)
		fdstore_give_back(argv);
	/* A daemon was served from this very host: no memory then is a matter of the moment. */
	if (r == -ENOMEM && broker.resumes)
		return EX_OSERR;
	return is_wrong(r) ? EX_CONFIG : EX_OSERR;
}

/* A first start is refused. Where clients wait, those that are there already can be served. */
static int check_store(const struct config *config)
{
	char place[CONFIG_PLACE_BYTES], text[FDSTORE_WHY_BYTES];
	bool resumes = keep_has(KEEP_META);

	if (fdstore_holds(config->limits_sessions, text))
		return EX_OK;
	config_place_of(config, "limits.sessions", place);
	log_emit(resumes ? LOG_WARNING : LOG_ERR, "store_small", "%s%s", place, text);
	return resumes ? EX_OK : EX_CONFIG;
}

static void fill_options(const struct config *config, struct server_options *options)
{
	server_options_init(options);
	options->path = config->socket_path;
	options->mode = config->socket_mode;
	options->nr_workers = config->control_workers;
	reload_fill_live(config, options);
	options->features = MMB_FEATURE_UPCALLS | MMB_FEATURE_FAULT_LOG |
			    MMB_FEATURE_POOL_OFFER |
			    (broker.features.poison ? MMB_FEATURE_POISON : 0);
	options->operation_timeout_ms = OPERATION_TIMEOUT_MS;
	options->topology = &broker.topology;
	options->gid = config->gid;
	options->admin_gid = config->admin_gid;
}

static void ending(void *unused)
{
	broker_stopping();
}

/* Both tidy nothing up: the next process finds what a crash would leave, and resumes from that. The
 * supervisor takes exit status 0 for a planned stop. */
_Noreturn static void hand_over(void)
{
	log_emit(LOG_NOTICE, "handed_over", "sessions and memory are left to the next process");
	_exit(fdstore_has_supervisor() ? EX_TEMPFAIL : EX_OK);
}

_Noreturn static void leave_for_next(const struct config *config, int status)
{
	config_kept_refused(config);
	log_emit(LOG_ERR, "not_resumed",
		 "clients wait, and their memory stays: whoever starts this daemon tries again");
	_exit(status);
}

static void keep_identity(const struct config *config)
{
	if (fdstore_keep_program())
		log_emit(LOG_WARNING, "program_not_kept",
			 "this program can't be kept: another release that can't take over its "
			 "state will not find it");
	if (config_kept_keep(config))
		log_emit(LOG_WARNING, "config_not_kept",
			 "this configuration can't be kept: a mistake in the next one will keep "
			 "clients waiting");
}

static int serve(struct reload *reload, const sigset_t *signals)
{
	struct server_options options;
	struct server *server;
	char error[SERVER_ERROR_BYTES];
	int signal_number;

	fill_options(reload->config, &options);
	options.hooks = (struct server_hooks){ reload, reload_run, ending };
	options.listen_own = keep_has(KEEP_LISTENER);
	options.listen_fd = options.listen_own ? keep_take(KEEP_LISTENER) : activation_socket();
	if (broker.resumes)
		options.adopt = server_adopt_sessions;
	if (options.listen_fd == -EINVAL) {
		log_emit(LOG_ERR, "bad_activation",
			 "the service manager passed more than one socket, or one that isn't a "
			 "listening "
			 "SOCK_SEQPACKET unix socket");
		return EX_CONFIG;
	}
	if (server_start(&options, &server, error)) {
		log_emit(LOG_ERR, "socket_failed", "%s", error);
		return EX_UNAVAILABLE;
	}
	log_emit(LOG_INFO, "ready", "serving on %s", options.path);
	reload->server = server;
	keep_identity(reload->config);
	fdstore_ready();
	signal_number = service_wait(signals, reload);
	if (signal_number == SIGUSR2 && keep_is_on())
		hand_over();
	log_emit(LOG_NOTICE, "stopping", "%s received", strsignal(signal_number));
	notify_show("STOPPING=1\nSTATUS=stopping: clients have a moment to leave");
	broker_stopping();
	server_stop(server, "the daemon is stopping", DRAIN_MS);
	return EX_OK;
}

/* Before the reserve is taken: that takes long, and memory from who serves. */
static int find_others(const struct config *config)
{
	char error[SERVER_ERROR_BYTES];

	/* Of a predecessor's process a thread may be left, and with it its lock. */
	if (keep_has(KEEP_LISTENER) || !server_probe(config->socket_path, error))
		return EX_OK;
	log_emit(LOG_ERR, "socket_failed", "%s", error);
	return EX_UNAVAILABLE;
}

/* status: config_load's. */
static int run(struct reload *reload, int status)
{
	struct config *config = reload->config;
	bool resumes, started;
	sigset_t signals;
	int r;

	reload_init(reload);
	service_block_signals(&signals);
	watchdog_init();
	if (crash_init())
		return EX_OSERR;
	process_raise_limit(RLIMIT_NOFILE); /* each region and session takes descriptors */
	process_raise_limit(RLIMIT_FSIZE);  /* memory is in files */
	prctl(PR_SET_DUMPABLE, 0);
	if (fdstore_init())
		return EX_OSERR;
	resumes = keep_has(KEEP_META);
	r = config_kept_choose(config, status);
	reload_log_level(config);
	if (!r)
		r = find_others(config);
	resume_mark(RESUME_GIVEN, 0);
	if (!r)
		r = check_store(config);
	if (!r && holdup_start()) {
		log_emit(LOG_ERR, "start_failed", "a thread can't be started: %s",
			 strerror(EAGAIN));
		r = EX_OSERR;
	}
	if (!r)
		r = start_broker(config, reload->argv);
	started = !r;
	if (started)
		r = serve(reload, &signals);
	if (r == NOT_WANTED)
		r = EX_OK;
	if (r && resumes)
		leave_for_next(config, r);
	if (started)
		broker_stop();
	holdup_stop();
	return r;
}

/* Sizes in bytes, for scripts. */
static void show(const struct config *config)
{
	const struct config_key *key = &config_keys[config->shown];
	char text[CONFIG_EXPECTED_BYTES];

	if (key->type == CONFIG_SIZE || key->type == CONFIG_RESERVE)
		printf("%llu\n", *(const unsigned long long *)(const void *)(
					 (const char *)config + key->offset));
	else {
		config_value_text(config, key, text);
		puts(text);
	}
}

int main(int argc, char **argv)
{
	struct config config;
	struct reload reload = { .argc = argc, .argv = argv, .config = &config };
	int r;

	fill_standard_descriptors();
	resume_mark(RESUME_EXECUTED, 0);
	r = config_load(argc, argv, &config, stderr);

	if (config.action == CONFIG_RUN && !config.supervise)
		r = run(&reload, r);
	else if (r == EX_OK && config.action == CONFIG_RUN)
		r = supervisor_run(argc, argv);
	else if (r == EX_OK && config.action == CONFIG_CHECK)
		r = config_check(&config);
	else if (r == EX_OK && config.action == CONFIG_SHOW)
		show(&config);
	config_fini(&config);
	return r;
}

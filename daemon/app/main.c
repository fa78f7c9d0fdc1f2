/* SPDX-License-Identifier: Apache-2.0 */
/*
 * main - mmbrokerd: configuration, broker, socket, signals, end
 *
 * Purpose     Puts the floors together and waits for a signal. Exit statuses are those of
 *             sysexits.h; 78 says that this host can't run it or the configuration is wrong.
 */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sysexits.h>
#include <systemd/sd-daemon.h>

#include "app/activation.h"
#include "app/config.h"
#include "base/log.h"
#include "client/broker.h"
#include "ipc/server.h"
#include "proto/methods.h"

enum { DRAIN_MS = 1000, OPERATION_TIMEOUT_MS = 30000, POOLS_PER_UID = 1024 };

static void block_signals(sigset_t *set)
{
	sigemptyset(set);
	sigaddset(set, SIGTERM);
	sigaddset(set, SIGINT);
	sigaddset(set, SIGHUP);
	sigprocmask(SIG_BLOCK, set, NULL);
	signal(SIGPIPE, SIG_IGN);
}

/* Each region and session takes descriptors. */
static void raise_descriptor_limit(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit))
		return;
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &limit);
}

static int start_broker(const struct config *config)
{
	struct broker_config want = {
		.reserve = config->memory_reserve,
		.reserve_huge = config->memory_reserve_huge,
		.hold = config->memory_reserve_mode == RESERVE_HOLD,
		.slub_debug = config->memory_slub_debug[0] ? config->memory_slub_debug : NULL,
		.fault_deadline_ms = config->memory_fault_deadline,
		.fault_threads = config->memory_fault_threads,
		.limits = {
			.sessions = config->limits_sessions,
			.sessions_per_uid = config->limits_sessions_per_uid,
			.regions_per_session = config->limits_regions_per_session,
			.regions_per_uid = config->limits_regions_per_uid,
			.pools_per_uid = POOLS_PER_UID,
		},
	};
	struct refusal why;
	int r = broker_start(&want, &why);

	if (!r)
		return EX_OK;
	log_emit(LOG_ERR, "start_failed", "%s", why.text);
	return r == -ENOSYS || r == -EINVAL || r == -ENOMEM ? EX_CONFIG : EX_OSERR;
}

static int fill_options(const struct config *config, struct server_options *options)
{
	server_options_init(options);
	options->path = config->socket_path;
	options->mode = config->socket_mode;
	options->nr_workers = config->control_workers;
	options->pass_userfaultfd = (enum pass_userfaultfd)config->memory_pass_userfaultfd;
	options->limits = (struct server_limits){
		.sessions = config->limits_sessions,
		.sessions_per_uid = config->limits_sessions_per_uid,
		.requests_in_flight = config->limits_requests_in_flight,
		.upcall_deadline_ms = config->limits_upcall_deadline,
		.hello_deadline_ms = config->limits_hello_deadline,
	};
	options->features = MMB_FEATURE_UPCALLS | MMB_FEATURE_FAULT_LOG |
			    (broker.features.poison ? MMB_FEATURE_POISON : 0);
	options->operation_timeout_ms = OPERATION_TIMEOUT_MS;
	options->topology = &broker.topology;
	if (server_group(config->socket_group, &options->gid)) {
		log_emit(LOG_ERR, "no_group", "socket.group: there is no group '%s'",
			 config->socket_group);
		return EX_CONFIG;
	}
	if (server_group(config->socket_admin_group, &options->admin_gid)) {
		log_emit(LOG_ERR, "no_group", "socket.admin_group: there is no group '%s'",
			 config->socket_admin_group);
		return EX_CONFIG;
	}
	return EX_OK;
}

static void wait_for_end(const sigset_t *set)
{
	int signal_number = 0;

	for (;;) {
		if (sigwait(set, &signal_number))
			continue;
		if (signal_number != SIGHUP)
			break;
		log_emit(LOG_NOTICE, "reload",
			 "no key of the configuration can change while running; "
			 "restart to apply changes");
	}
	log_emit(LOG_INFO, "stopping", "%s received", strsignal(signal_number));
}

static int serve(const struct config *config, const sigset_t *signals)
{
	struct server_options options;
	struct server *server;
	char error[SERVER_ERROR_BYTES];
	int r = fill_options(config, &options);

	if (r)
		return r;
	options.listen_fd = activation_socket();
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
	sd_notify(0, "READY=1");
	wait_for_end(signals);
	sd_notify(0, "STOPPING=1");
	broker_stopping();
	server_stop(server, "the daemon is stopping", DRAIN_MS);
	return EX_OK;
}

/* In the order of the words of log.level. */
static const enum log_level log_levels[] = { LOG_ERR, LOG_WARNING, LOG_NOTICE, LOG_INFO,
					     LOG_DEBUG };

static int run(const struct config *config)
{
	sigset_t signals;
	int r;

	log_set_level(log_levels[config->log_level]);
	block_signals(&signals);
	raise_descriptor_limit();
	prctl(PR_SET_DUMPABLE, 0);
	r = start_broker(config);
	if (r)
		return r;
	r = serve(config, &signals);
	broker_stop();
	return r;
}

int main(int argc, char **argv)
{
	struct config config;
	int r = config_load(argc, argv, &config, stderr);

	if (r == EX_OK && config.action == CONFIG_RUN)
		r = run(&config);
	config_fini(&config);
	return r;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * listener - lock file, leftover, bind, rename, accept
 *
 * Locking     see listener.h.
 */
#include "ipc/listener.h"

#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/log.h"
#include "ipc/server_state.h"
#include "os/keep.h"

enum {
	REST_MS = 100,
	BACKLOG = 128,
};

static const char suffix_new[] = ".new", suffix_lock[] = ".lock";

__attribute__((format(printf, 3, 4))) static int fail(char error[SERVER_ERROR_BYTES], int code,
						      const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(error, SERVER_ERROR_BYTES, format, args);
	va_end(args);
	return code;
}

/* The socket's folder, one level deep: /run/mmbroker of a system that has just booted. */
static int make_folder(const char *path)
{
	char  folder[sizeof(((struct listener *)0)->path)];
	char *slash;

	strcpy(folder, path);
	slash = strrchr(folder, '/');
	if (!slash || slash == folder)
		return 0;
	*slash = '\0';
	return mkdir(folder, 0755) && errno != EEXIST ? -errno : 0;
}

/* Someone may have removed the file between open and flock: then the lock means nothing. */
static bool lock_is_current(int fd, const char *path)
{
	struct stat held, named;

	return !fstat(fd, &held) && !stat(path, &named) && held.st_ino == named.st_ino &&
	       held.st_dev == named.st_dev;
}

static int is_served(int lock_fd, const char *path, char error[SERVER_ERROR_BYTES])
{
	char owner[16] = "";

	if (read(lock_fd, owner, sizeof(owner) - 1) < 0)
		owner[0] = '\0';
	return fail(error, -EADDRINUSE,
		    "another daemon (process %s) already serves %s: stop it, or choose another "
		    "socket.path", owner[0] ? owner : "unknown", path);
}

/* The lock is shared with others who only look; whoever wants to serve at this moment is told what
 * one who comes an instant later is told. */
int server_probe(const char *path, char error[SERVER_ERROR_BYTES])
{
	char lock[sizeof(((struct listener *)0)->path) + sizeof(suffix_lock)];
	int  fd, code = 0;

	if (!path[0] || strlen(path) + sizeof(suffix_lock) > sizeof(lock))
		return 0;
	snprintf(lock, sizeof(lock), "%s%s", path, suffix_lock);
	fd = open(lock, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	if (fd < 0)
		return 0;
	if (flock(fd, LOCK_SH | LOCK_NB) && errno == EWOULDBLOCK)
		code = is_served(fd, path, error);
	close(fd);
	return code;
}

static int check_kind(const char *path, const struct stat *st, char error[SERVER_ERROR_BYTES])
{
	return S_ISSOCK(st->st_mode)
		       ? 0 : fail(error, -EEXIST,
				  "%s exists and is not a socket: remove it, or choose another "
				  "socket.path", path);
}

/* Makes it the path of its folder. */
static void go_up(char *path)
{
	char *slash = strrchr(path, '/');

	if (!slash)
		strcpy(path, ".");
	else
		slash[slash == path] = '\0';
}

/* make_folder() would make one level. */
int server_look(const char *path, char error[SERVER_ERROR_BYTES])
{
	char        folder[sizeof(((struct listener *)0)->path)];
	struct stat st;
	int         code = 0;

	if (!lstat(path, &st) && check_kind(path, &st, error))
		return -EEXIST;
	snprintf(folder, sizeof(folder), "%s", path);
	go_up(folder);
	if (stat(folder, &st) && errno == ENOENT)
		go_up(folder);
	if (stat(folder, &st))
		code = -errno;
	else if (!S_ISDIR(st.st_mode))
		code = -ENOTDIR;
	else if (faccessat(AT_FDCWD, folder, W_OK | X_OK, AT_EACCESS))
		code = -errno;
	return code ? fail(error, code, "%s can't be made in %s: %s", path, folder,
			   strerror(-code))
		    : 0;
}

static int take_lock(struct listener *l, char error[SERVER_ERROR_BYTES])
{
	char path[sizeof(l->path) + sizeof(suffix_lock)];
	char owner[16];

	snprintf(path, sizeof(path), "%s%s", l->path, suffix_lock);
	for (;;) {
		int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);

		if (fd < 0)
			return fail(error, -errno, "can't open the lock file %s: %s", path,
				    strerror(errno));
		if (flock(fd, LOCK_EX | LOCK_NB)) {
			int code = errno == EWOULDBLOCK
					   ? is_served(fd, l->path, error)
					   : fail(error, -errno, "can't lock %s: %s", path,
						  strerror(errno));

			close(fd);
			return code;
		}
		if (!lock_is_current(fd, path)) {
			close(fd);
			continue;
		}
		l->lock_fd = fd;
		snprintf(owner, sizeof(owner), "%d", getpid());
		if (ftruncate(fd, 0) || pwrite(fd, owner, strlen(owner), 0) < 0)
			return fail(error, -errno, "can't write the lock file %s: %s", path,
				    strerror(errno));
		return 0;
	}
}

/* A file at the path may only be a socket that nobody listens to. */
static int check_leftover(const struct listener *l, char error[SERVER_ERROR_BYTES])
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	struct stat        st;
	int                probe, served;

	if (lstat(l->path, &st) && errno == ENOENT)
		return 0;
	if (lstat(l->path, &st))
		return fail(error, -errno, "%s: %s", l->path, strerror(errno));
	if (check_kind(l->path, &st, error))
		return -EEXIST;
	probe = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (probe < 0)
		return fail(error, -errno, "can't make a socket: %s", strerror(errno));
	memcpy(address.sun_path, l->path, strlen(l->path));
	served = !connect(probe, (struct sockaddr *)&address, sizeof(address)) ||
		 (errno != ECONNREFUSED && errno != ENOENT);
	close(probe);
	if (served)
		return fail(error, -EADDRINUSE,
			    "another program already serves %s: stop it, or choose another "
			    "socket.path", l->path);
	return 0;
}

static int bind_new(struct listener *l, const struct server_options *options,
		    char error[SERVER_ERROR_BYTES])
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };

	if (snprintf(address.sun_path, sizeof(address.sun_path), "%s%s", l->path, suffix_new) >=
	    (int)sizeof(address.sun_path))
		return fail(error, -ENAMETOOLONG, "%s is too long for a socket's path", l->path);
	l->sock = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (l->sock < 0)
		return fail(error, -errno, "can't make a socket: %s", strerror(errno));
	if (unlink(address.sun_path) && errno != ENOENT)
		return fail(error, -errno, "can't remove %s: %s", address.sun_path,
			    strerror(errno));
	if (bind(l->sock, (struct sockaddr *)&address, sizeof(address)))
		return fail(error, -errno, "can't make a socket in the folder of %s: %s", l->path,
			    strerror(errno));
	/* Nobody can connect before listen(), so there is no moment with wrong bits. */
	if (options->gid >= 0 && lchown(address.sun_path, (uid_t)-1, (gid_t)options->gid))
		return fail(error, -errno, "can't give %s to group %lld: %s", l->path,
			    (long long)options->gid, strerror(errno));
	if (chmod(address.sun_path, options->mode & 0777))
		return fail(error, -errno, "can't set the mode of %s: %s", l->path,
			    strerror(errno));
	if (listen(l->sock, BACKLOG) || lstat(address.sun_path, &l->identity))
		return fail(error, -errno, "can't listen on %s: %s", l->path, strerror(errno));
	return 0;
}

static int inherit(struct listener *l, int sock, char error[SERVER_ERROR_BYTES])
{
	int       type = 0, listening = 0, flags;
	socklen_t bytes = sizeof(int);

	if (getsockopt(sock, SOL_SOCKET, SO_TYPE, &type, &bytes) || type != SOCK_SEQPACKET ||
	    getsockopt(sock, SOL_SOCKET, SO_ACCEPTCONN, &listening, &bytes) || !listening)
		return fail(error, -EINVAL,
			    "descriptor %d of the service manager is not a listening "
			    "SOCK_SEQPACKET socket: use ListenSequentialPacket= in the socket unit",
			    sock);
	flags = fcntl(sock, F_GETFL);
	if (flags < 0 || fcntl(sock, F_SETFL, flags | O_NONBLOCK))
		return fail(error, -errno, "descriptor %d: %s", sock, strerror(errno));
	l->sock = sock;
	l->published = true;
	return 0;
}

/* A predecessor's, whose name is there. Without it, whoever comes finds the next one. */
static int inherit_named(struct listener *l, int sock, char error[SERVER_ERROR_BYTES])
{
	int code = inherit(l, sock, error);

	if (code || !lstat(l->path, &l->identity))
		return code;
	if (errno != ENOENT)
		return fail(error, -errno, "%s: %s", l->path, strerror(errno));
	close(l->sock);
	l->sock = -1;
	l->published = false;
	return -ENOENT;
}

int listener_open(struct listener *l, const struct server_options *options,
		  char error[SERVER_ERROR_BYTES])
{
	struct sockaddr_un address;
	const char        *path = options->path ? options->path : "";
	int                code;

	memset(l, 0, sizeof(*l));
	l->sock = l->lock_fd = -1;
	l->reserve_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	if (l->reserve_fd < 0)
		return fail(error, -errno, "can't open /dev/null: %s", strerror(errno));
	if (options->listen_fd >= 0 && !options->listen_own)
		return inherit(l, options->listen_fd, error);
	if (!path[0] || strlen(path) + sizeof(suffix_new) > sizeof(address.sun_path))
		return fail(error, -ENAMETOOLONG,
			    "socket.path \"%s\" must be 1 to %zu bytes long", path,
			    sizeof(address.sun_path) - sizeof(suffix_new));
	strcpy(l->path, path);
	code = make_folder(path);
	if (code)
		return fail(error, code, "can't make the folder of %s: %s", path, strerror(-code));
	code = take_lock(l, error);
	/* By a thread of the predecessor's that a client holds up; what it served is ours. */
	if (code == -EADDRINUSE && options->listen_fd >= 0)
		return inherit(l, options->listen_fd, error);
	if (!code && options->listen_fd >= 0) {
		code = inherit_named(l, options->listen_fd, error);
		if (code != -ENOENT)
			return code;
		code = 0;
	}
	if (!code)
		code = check_leftover(l, error);
	if (!code)
		code = bind_new(l, options, error);
	if (!code)
		code = keep_fd(KEEP_LISTENER, l->sock);
	return code;
}

/* Another thread may be quicker to take the one that was given up: then there is one later. */
static void reserve_one(struct listener *l)
{
	if (l->reserve_fd < 0)
		l->reserve_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
}

/* Out of descriptors: the first in the queue is told so by being closed, the rest wait. */
static void turn_away(struct listener *l)
{
	struct timeval rest = { .tv_usec = REST_MS * 1000 };
	int            sock;

	if (l->reserve_fd >= 0)
		close(l->reserve_fd);
	l->reserve_fd = -1;
	sock = accept4(l->sock, NULL, NULL, SOCK_CLOEXEC);
	if (sock >= 0)
		close(sock);
	reserve_one(l);
	event_del(&l->ev_accept);
	event_add(&l->ev_rest, &rest);
	atomic_fetch_add_explicit(&l->server->nr_refused, 1, memory_order_relaxed);
	log_emit_limited(LOG_ERR, "descriptors_exhausted",
			 "a connection was refused: no descriptors are left; raise LimitNOFILE= "
			 "or lower limits.sessions");
}

static void on_accept(evutil_socket_t fd, short what, void *arg)
{
	struct listener *l = arg;
	/* One at a time: the loop comes back for the next one, after the other connections' turn,
	 * and a call that finds nobody costs as much as one that finds somebody. */
	int sock = accept4(fd, NULL, NULL, SOCK_CLOEXEC);

	(void)what;
	if (sock >= 0)
		server_take_socket(l->server, sock);
	else if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS)
		turn_away(l);
}

static void on_rested(evutil_socket_t fd, short what, void *arg)
{
	struct listener *l = arg;

	(void)fd;
	(void)what;
	reserve_one(l);
	if (l->reserve_fd < 0)
		event_add(&l->ev_rest, &(struct timeval){ .tv_usec = REST_MS * 1000 });
	event_add(&l->ev_accept, NULL);
}

int listener_start(struct listener *l, struct server *server, struct event_base *base)
{
	l->server = server;
	event_assign(&l->ev_accept, base, l->sock, EV_READ | EV_PERSIST, on_accept, l);
	event_assign(&l->ev_rest, base, -1, 0, on_rested, l);
	return event_add(&l->ev_accept, NULL) ? -ENOMEM : 0;
}

int listener_publish(struct listener *l, char error[SERVER_ERROR_BYTES])
{
	char from[sizeof(l->path) + sizeof(suffix_new)];

	if (l->published)
		return 0;
	snprintf(from, sizeof(from), "%s%s", l->path, suffix_new);
	if (rename(from, l->path))
		return fail(error, -errno, "can't put the socket at %s: %s", l->path,
			    strerror(errno));
	l->published = true;
	return 0;
}

static void remove_files(struct listener *l)
{
	char        path[sizeof(l->path) + sizeof(suffix_lock)];
	struct stat st;

	if (!l->published) {
		snprintf(path, sizeof(path), "%s%s", l->path, suffix_new);
		unlink(path);
	} else if (!lstat(l->path, &st) && st.st_ino == l->identity.st_ino &&
		   st.st_dev == l->identity.st_dev) {
		unlink(l->path);
	}
	/* Still locked: whoever opened it meanwhile will find that it isn't current. */
	snprintf(path, sizeof(path), "%s%s", l->path, suffix_lock);
	unlink(path);
}

void listener_close(struct listener *l)
{
	if (l->server) {
		event_del(&l->ev_accept);
		event_del(&l->ev_rest);
		l->server = NULL;
	}
	if (l->lock_fd >= 0) {
		remove_files(l);
		close(l->lock_fd);
	}
	if (l->sock >= 0)
		close(l->sock);
	if (l->reserve_fd >= 0)
		close(l->reserve_fd);
	l->sock = l->lock_fd = l->reserve_fd = -1;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * unread - a list of uids with their counts, and one of sockets
 *
 * Locking     see unread.h.
 */
#include "ipc/unread.h"

#include <errno.h>
#include <linux/sockios.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/check.h"
#include "mm/obj/slab.h"

/* There while it has some: as many as there are users with connections at most. */
struct unread_uid {
	struct list_head link;
	uid_t            uid;
	uint64_t         nr;
};

struct lingering {
	struct list_head link;
	int              sock;
	uid_t            uid;
	uint32_t         nr;
};

void unread_init(struct unread *u, uint64_t descriptors_max)
{
	mutex_init(&u->lock, RANK_UNREAD, "unread descriptors");
	u->most = descriptors_max / 2;
	u->total = 0;
	list_init(&u->uids);
	list_init(&u->lingering);
	u->nr_lingering = 0;
}

static struct unread_uid *find_locked(struct unread *u, uid_t uid)
{
	struct unread_uid *of;

	list_for_each_entry(of, &u->uids, link)
		if (of->uid == uid)
			return of;
	return NULL;
}

static struct unread_uid *get_locked(struct unread *u, uid_t uid)
{
	struct unread_uid *of = find_locked(u, uid);

	if (of)
		return of;
	of = kmalloc(sizeof(*of), GFP_KERNEL);
	if (!of)
		return NULL;
	of->uid = uid;
	of->nr = 0;
	list_add_tail(&of->link, &u->uids);
	return of;
}

static void put_locked(struct unread_uid *of)
{
	if (of->nr)
		return;
	list_del(&of->link);
	kfree(of);
}

static bool fits_locked(const struct unread *u, const struct unread_uid *of, uint32_t nr)
{
	uint64_t total = u->total + nr;

	return total <= u->most && of->nr + nr <= u->most - total;
}

static int charge(struct unread *u, uid_t uid, uint32_t nr, bool there_already)
{
	struct unread_uid *of;
	int                error = 0;

	if (!nr)
		return 0;
	mutex_lock(&u->lock);
	of = get_locked(u, uid);
	if (!of) {
		error = -ENOMEM;
	} else if (there_already || fits_locked(u, of, nr)) {
		of->nr += nr;
		u->total += nr;
	} else {
		error = -ENOBUFS;
		put_locked(of);
	}
	mutex_unlock(&u->lock);
	return error;
}

int unread_charge(struct unread *u, uid_t uid, uint32_t nr)
{
	return charge(u, uid, nr, false);
}

int unread_recharge(struct unread *u, uid_t uid, uint32_t nr)
{
	return charge(u, uid, nr, true);
}

static void uncharge_locked(struct unread *u, uid_t uid, uint32_t nr)
{
	struct unread_uid *of = find_locked(u, uid);

	CHECK(of && of->nr >= nr && u->total >= nr);
	of->nr -= nr;
	u->total -= nr;
	put_locked(of);
}

void unread_uncharge(struct unread *u, uid_t uid, uint32_t nr)
{
	if (!nr)
		return;
	mutex_lock(&u->lock);
	uncharge_locked(u, uid, nr);
	mutex_unlock(&u->lock);
}

/* Bytes of packets that were sent here and exist: a packet goes, with its descriptors, when the
 * other end has received it (looking at it isn't enough) or nobody has that end any more. */
bool unread_is_taken(int sock)
{
	int bytes = 0;

	return ioctl(sock, SIOCOUTQ, &bytes) || bytes == 0;
}

void unread_linger(struct unread *u, int sock, uid_t uid, uint32_t nr)
{
	struct lingering *l = kmalloc(sizeof(*l), GFP_KERNEL);

	if (!l || shutdown(sock, SHUT_RDWR)) { /* counting goes before being right about it */
		kfree(l);
		unread_uncharge(u, uid, nr);
		close(sock);
		return;
	}
	*l = (struct lingering){ .sock = sock, .uid = uid, .nr = nr };
	mutex_lock(&u->lock);
	list_add_tail(&l->link, &u->lingering);
	u->nr_lingering++;
	mutex_unlock(&u->lock);
}

static void end_locked(struct unread *u, struct lingering *l)
{
	list_del(&l->link);
	u->nr_lingering--;
	uncharge_locked(u, l->uid, l->nr);
	close(l->sock);
	kfree(l);
}

void unread_look(struct unread *u)
{
	struct lingering *l, *next;

	mutex_lock(&u->lock);
	list_for_each_entry_safe(l, next, &u->lingering, link)
		if (unread_is_taken(l->sock))
			end_locked(u, l);
	mutex_unlock(&u->lock);
}

void unread_count(struct unread *u, uid_t uid, struct unread_count *out)
{
	struct lingering *l;

	mutex_lock(&u->lock);
	*out = (struct unread_count){
		.total = u->total,
		.most = u->most,
		.lingering = u->nr_lingering,
	};
	list_for_each_entry(l, &u->lingering, link)
		out->lingering_of_uid += l->uid == uid;
	mutex_unlock(&u->lock);
}

void unread_fini(struct unread *u)
{
	struct lingering *l, *next;

	list_for_each_entry_safe(l, next, &u->lingering, link)
		end_locked(u, l);
	CHECK(!u->total);
	mutex_fini(&u->lock);
}

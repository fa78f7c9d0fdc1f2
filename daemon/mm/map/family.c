/* SPDX-License-Identifier: Apache-2.0 */
/*
 * family - joining, leaving, and the walk over those below
 */
#include "mm/map/family.h"

#include "mm/obj/slab.h"

static struct kmem_cache *family_cache, *kin_cache; /* fixed after init */
static _Atomic uint64_t next_id = 1;

void families_init(void)
{
	family_cache = KMEM_CACHE(family, 0);
	kin_cache = KMEM_CACHE(kin, 0);
}

static struct kin *new_kin(struct family *family, void *region)
{
	struct kin *kin = kmem_cache_zalloc(kin_cache, GFP_KERNEL);

	if (!kin)
		return NULL;
	kin->family = family;
	kin->region = region;
	list_init(&kin->children);
	list_init(&kin->sibling);
	return kin;
}

struct kin *family_new(void *region)
{
	struct family *family = kmem_cache_zalloc(family_cache, GFP_KERNEL);
	struct kin *kin = family ? new_kin(family, region) : NULL;

	if (!kin) {
		if (family)
			kmem_cache_free(family_cache, family);
		return NULL;
	}
	mutex_init(&family->lock, RANK_FAMILY, "family");
	family->id = atomic_fetch_add(&next_id, 1);
	list_init(&family->members);
	list_add_tail(&kin->link, &family->members);
	family->nr_members = 1;
	return kin;
}

struct kin *family_join(struct kin *parent, void *region)
{
	struct family *family = parent->family;
	struct kin *kin = new_kin(family, region);

	if (!kin)
		return NULL;
	mutex_lock(&family->lock);
	kin->parent = parent;
	kin->depth = parent->depth + 1;
	list_add_tail(&kin->link, &family->members);
	list_add_tail(&kin->sibling, &parent->children);
	family->nr_members++;
	mutex_unlock(&family->lock);
	return kin;
}

void *family_leave(struct kin *kin)
{
	struct family *family = kin->family;
	void *parent;
	bool last;

	mutex_lock(&family->lock);
	CHECK(list_empty(&kin->children));
	parent = kin->parent ? kin->parent->region : NULL;
	list_del(&kin->link);
	list_del(&kin->sibling);
	last = !--family->nr_members;
	mutex_unlock(&family->lock);
	kmem_cache_free(kin_cache, kin);
	if (last) {
		mutex_fini(&family->lock);
		kmem_cache_free(family_cache, family);
	}
	return parent;
}

uint32_t family_hand_over(struct kin *kin, void (*adopt)(struct kin *child))
{
	struct family *family = kin->family;
	struct kin *child, *next, *below;
	uint32_t nr = 0;

	mutex_lock(&family->lock);
	for (below = family_below(kin, kin); below; below = family_below(kin, below))
		below->depth--;
	list_for_each_entry_safe(child, next, &kin->children, sibling) {
		child->parent = kin->parent;
		list_del(&child->sibling);
		list_init(&child->sibling);
		if (kin->parent)
			list_add_tail(&child->sibling, &kin->parent->children);
		adopt(child);
		nr++;
	}
	mutex_unlock(&family->lock);
	return nr;
}

struct kin *family_below(const struct kin *root, struct kin *at)
{
	if (!list_empty(&at->children))
		return list_first_entry(&at->children, struct kin, sibling);
	while (at != root) {
		if (at->sibling.next != &at->parent->children)
			return list_entry(at->sibling.next, struct kin, sibling);
		at = at->parent;
	}
	return NULL;
}

bool family_is_oldest(struct kin *kin)
{
	bool is;

	mutex_lock(&kin->family->lock);
	is = kin->family->members.next == &kin->link;
	mutex_unlock(&kin->family->lock);
	return is;
}

void family_validate(struct family *family, struct validation *v)
{
	uint64_t nr = 0, below = 0;
	struct kin *kin, *child;

	mutex_lock(&family->lock);
	list_for_each_entry(kin, &family->members, link) {
		nr++;
		validation_compare(v, kin->depth, kin->parent ? kin->parent->depth + 1 : 0,
				   "family %llu: depth of a member",
				   (unsigned long long)family->id);
		list_for_each_entry(child, &kin->children, sibling) {
			below++;
			validation_expect(v, child->parent == kin && child->family == family,
					  "family %llu: a child of another parent",
					  (unsigned long long)family->id);
		}
		below += !kin->parent;
	}
	validation_compare(v, nr, family->nr_members, "family %llu: members",
			   (unsigned long long)family->id);
	validation_compare(v, below, nr, "family %llu: members in the tree",
			   (unsigned long long)family->id);
	mutex_unlock(&family->lock);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * swap_area_table - areas and their clusters as swap.c and swap_validate.c know them
 *
 * Locking     area->lock; areas are static, so that a number whose area goes stays lockable.
 * Not here    What others may use (swap.h).
 */
#ifndef MMB_MAP_SWAP_AREA_TABLE_H
#define MMB_MAP_SWAP_AREA_TABLE_H

#include "mm/map/swap.h"

/* c: fixed from add to remove   l: lock   a: atomic */
struct swap_area {
	struct mutex     lock;
	bool             exists;    /* (l) */
	_Atomic bool     accepting; /* (a) changes under lock */
	uint32_t         serial;    /* (l) grows when an area of this number goes */
	uint32_t         number;    /* (c) */
	int16_t          priority;  /* (c) */
	uint64_t         nr_slots;  /* (c) */
	uint64_t         nr_clusters;            /* (c) */
	_Atomic uint64_t nr_empty;               /* (a) on the list; changes under lock */
	_Atomic uint64_t nr_huge;                /* (a) clusters with a huge page; as nr_empty */
	_Atomic uint64_t nr_used, nr_bad;        /* (a) change under lock */
	struct list_head empty, owned;           /* (l) of clusters */
	struct list_head partial[SWAP_CLASSES];  /* (l) */
};

extern struct swap_area swap_areas[SWAP_AREAS_MAX];

static inline struct swap_cluster *cluster_at(const struct swap_area *area, uint64_t i)
{
	return &swap_clusters[area->number * meta_swap_clusters() + i];
}

static inline uint64_t index_of(const struct swap_area *area, const struct swap_cluster *cluster)
{
	return (uint64_t)(cluster - cluster_at(area, 0));
}

static inline uint32_t nr_free(const struct swap_cluster *cluster)
{
	return CLUSTER_SLOTS - cluster->nr_taken;
}

static inline bool is_taken(const struct swap_cluster *cluster, uint32_t at)
{
	return cluster->taken[at / 64] >> at % 64 & 1;
}

/* The list that a cluster belongs on; NULL: on none (W5). */
static inline struct list_head *list_for(struct swap_area *area, const struct swap_cluster *cluster)
{
	static const uint16_t class_free[SWAP_CLASSES] = {
		CLUSTER_SLOTS / 2, CLUSTER_SLOTS / 8, CLUSTER_SLOTS / 64, 1
	};

	if (cluster->owned)
		return &area->owned;
	if (!cluster->nr_taken)
		return &area->empty;
	for (int i = 0; i < SWAP_CLASSES; i++)
		if (nr_free(cluster) >= class_free[i])
			return &area->partial[i];
	return NULL;
}

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * swap_validate - recounts areas, clusters and lists
 *
 * Locking     area->lock, one after the other.
 */
#include "mm/map/swap_area_table.h"

struct tally {
	uint64_t nr_used, nr_bad, nr_listed_empty, nr_huge;
};

static void validate_cluster(struct swap_area *area, uint64_t i, struct tally *tally,
			     struct validation *v)
{
	const struct swap_cluster *cluster = cluster_at(area, i);
	uint32_t                   nr_used = 0, nr_taken = 0;

	for (uint32_t at = 0; at < CLUSTER_SLOTS; at++) {
		uint64_t index = i * CLUSTER_SLOTS + at;
		uint32_t count = 0;

		if (index && index < area->nr_slots)
			count = swap_record(slot_make(area->number, (uint32_t)index))->count;
		nr_used += count && count != SLOT_BAD;
		tally->nr_bad += count == SLOT_BAD;
		nr_taken += is_taken(cluster, at);
		if (is_taken(cluster, at) != (count || !index || index >= area->nr_slots))
			validation_expect(v, 0, "swap area %u: slot %llu is free as its count says",
					  area->number, (unsigned long long)index);
	}
	validation_compare(v, nr_used, cluster->nr_used, "swap area %u: used in cluster %llu",
			   area->number, (unsigned long long)i);
	validation_compare(v, nr_taken, cluster->nr_taken, "swap area %u: taken in cluster %llu",
			   area->number, (unsigned long long)i);
	tally->nr_used += nr_used;
	tally->nr_listed_empty += !cluster->owned && !cluster->nr_taken;
	tally->nr_huge += cluster->huge;
}

static uint64_t validate_list(struct swap_area *area, struct list_head *list,
			      struct validation *v)
{
	struct swap_cluster *cluster;
	uint64_t             nr = 0;

	list_for_each_entry(cluster, list, link) {
		validation_expect(v, list_for(area, cluster) == list,
				  "swap area %u: cluster %llu is on its list", area->number,
				  (unsigned long long)index_of(area, cluster));
		nr++;
	}
	return nr;
}

static void validate_area(struct swap_area *area, struct validation *v)
{
	struct tally tally = { 0 };
	uint64_t     listed = 0, expected = 0;

	for (uint64_t i = 0; i < area->nr_clusters; i++) {
		validate_cluster(area, i, &tally, v);
		expected += list_for(area, cluster_at(area, i)) != NULL;
	}
	listed += validate_list(area, &area->empty, v);
	validation_compare(v, tally.nr_listed_empty, area->nr_empty,
			   "swap area %u: empty clusters", area->number);
	validation_compare(v, tally.nr_huge, area->nr_huge,
			   "swap area %u: clusters of huge pages", area->number);
	listed += validate_list(area, &area->owned, v);
	for (int i = 0; i < SWAP_CLASSES; i++)
		listed += validate_list(area, &area->partial[i], v);
	validation_compare(v, expected, listed, "swap area %u: clusters on lists", area->number);
	validation_compare(v, tally.nr_used, area->nr_used, "swap area %u: slots used",
			   area->number);
	validation_compare(v, tally.nr_bad, area->nr_bad, "swap area %u: slots retired",
			   area->number);
}

void swap_validate(struct validation *v)
{
	for (uint32_t i = 0; i < SWAP_AREAS_MAX; i++) {
		mutex_lock(&swap_areas[i].lock);
		if (swap_areas[i].exists)
			validate_area(&swap_areas[i], v);
		mutex_unlock(&swap_areas[i].lock);
	}
}

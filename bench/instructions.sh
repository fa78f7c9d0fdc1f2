#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# instructions - instructions of a malloc and free pair, ours and the peers', by callgrind
#
# usage: bench/instructions.sh [BUILD FOLDER]
#
# Purpose     Runs workloads of `mmb-bench malloc --one` under callgrind, each with two numbers of
#             pairs: the difference over the additional pairs is free of start-up and warm-up. The
#             workload's own loop is included, about ten instructions. One line a workload, one
#             column an allocator; "-" is one that can't be had here.
# Usage       WORKLOADS='pair-16 pair-64' bench/instructions.sh counts only those.
# Exit        0, or 77 where valgrind or the bench is missing.
set -euo pipefail

build=${1:-build}
bench=$build/bench/mmb-bench
allocators=(ours glibc jemalloc mimalloc tcmalloc)
# Workload, pairs of the short run, pairs of the long one.
workloads=(
	"pair-16 10000 60000"
	"pair-64 10000 60000"
	"pair-1K 10000 60000"
	"pair-32K 10000 60000"
	"random-free-64x1000 10000 60000"
	"random-free-64x100000 100000 300000"
	"mixed-live-20000 10000 60000"
)

command -v valgrind >/dev/null || { echo "instructions: valgrind isn't installed" >&2; exit 77; }
[[ -x $bench ]] || { echo "instructions: no $bench" >&2; exit 77; }
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

# count WORKLOAD ALLOCATOR PAIRS: instructions of the whole run, or nothing.
count() {
	rm -f "$scratch"/*
	valgrind --tool=callgrind --vgdb=no --callgrind-out-file=/dev/null \
		--log-file="$scratch/log.%p" \
		--trace-children=yes --trace-children-skip='*/mmbrokerd' \
		"$bench" malloc --one "$1" --allocator "$2" --ops "$3" --seed 1 \
		>"$scratch/output" 2>/dev/null || true
	grep -q '^figures ' "$scratch/output" || return 0
	cat "$scratch"/log.* | awk '/Collected :/ { if ($4 > most) most = $4 } END { print most }'
}

printf '%-24s' 'instructions a pair'
printf '%10s' "${allocators[@]}"
echo
for row in "${workloads[@]}"; do
	read -r workload few many <<<"$row"
	[[ -z ${WORKLOADS:-} || " $WORKLOADS " == *" $workload "* ]] || continue
	printf '%-24s' "$workload"
	for allocator in "${allocators[@]}"; do
		short=$(count "$workload" "$allocator" "$few")
		long=
		[[ -z $short ]] || long=$(count "$workload" "$allocator" "$many")
		if [[ -n $long ]]; then
			awk -v a="$short" -v b="$long" -v n=$((many - few)) \
				'BEGIN { printf "%10.1f", (b - a) / n }'
		else
			printf '%10s' -
		fi
	done
	echo
done

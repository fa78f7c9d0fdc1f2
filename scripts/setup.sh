# SPDX-License-Identifier: Apache-2.0
# setup - what run and check share: packages, builds, huge pages, and undoing it all
#
# Purpose     Sourced by bash scripts that have set `root` to the repository's folder.
# Invariants  S1  whatever is pushed on the undo list is undone on every exit: success, failure,
#                 Ctrl-C, SIGTERM, a closed terminal.
#             S2  the number of huge pages goes down by what it went up by, so that two of us at
#                 the same time don't take each other's setting for the original.
# shellcheck shell=bash

packages_build=(build-essential meson ninja-build pkg-config liburing-dev libnuma-dev libhwloc-dev
	libprotobuf-c-dev protobuf-c-compiler libevent-dev libinih-dev libsystemd-dev libxxhash-dev
	systemtap-sdt-dev python3)
packages_check=(clang libclang-rt-14-dev procps mandoc nbdkit libnbd-bin)
# For ./check --vm, whose machine is made from packages that aren't installed here.
packages_vm=(qemu-system-x86 cpio)
# Peers of `mmb-bench malloc`, which goes without those that aren't there.
packages_peers=(libjemalloc2 libmimalloc2.0 libtcmalloc-minimal4)
exit_tempfail=75
exit_missing=77

say() { printf 'mmbroker: %s\n' "$*"; }
fail() {
	printf 'mmbroker: %s\n' "$2" >&2
	exit "$1"
}

undo=()
child=

undo_push() {
	undo+=("$(printf '%q ' "$@")")
}

undo_all() {
	local status=$? i
	trap '' INT TERM HUP
	trap - EXIT
	if [[ -n $child ]]; then
		kill -TERM -- "-$child" 2>/dev/null || true
		wait "$child" 2>/dev/null || true
	fi
	for ((i = ${#undo[@]} - 1; i >= 0; i--)); do
		eval "${undo[i]}" || say "couldn't undo: ${undo[i]}" >&2
	done
	exit "$status"
}

undo_on_exit() {
	trap undo_all EXIT
	trap 'exit 130' INT
	trap 'exit 143' TERM
	trap 'exit 129' HUP
}

# Starts a command in a process group of its own; its number is in $started.
start_group() {
	set -m
	"$@" </dev/null &
	started=$!
	set +m
}

# Runs a command that a signal to this script ends, too.
run_child() {
	local status=0
	start_group "$@"
	child=$started
	wait "$child" || status=$?
	child=
	return "$status"
}

# Runs a command quietly: its output goes to a file. When it fails, what it said from its first
# error on is shown.
run_logged() {
	local log=$1 status=0
	shift
	run_child "$@" >"$log" 2>&1 || status=$?
	if ((status != 0)); then
		if grep -qE 'FAILED:|FAIL |error:|ERROR' "$log"; then
			awk '/FAILED:|FAIL |error:|ERROR/ { on = 1 } on' "$log" | head -n 40 >&2
		else
			tail -n 40 "$log" >&2
		fi
	fi
	return "$status"
}

# An absent package: installed by root, named to everybody else.
packages_need() {
	local missing=() package install
	command -v dpkg-query >/dev/null || return 0
	for package; do
		dpkg-query -W -f '${db:Status-Status}\n' "$package" 2>/dev/null |
			grep -qx installed || missing+=("$package")
	done
	((${#missing[@]})) || return 0
	install="apt-get install -y --no-install-recommends ${missing[*]}"
	if ((EUID != 0)); then
		fail "$exit_missing" "packages are missing; as root: apt-get update && $install"
	fi
	say "installing ${missing[*]}"
	export DEBIAN_FRONTEND=noninteractive
	run_child apt-get update -qq || fail "$exit_tempfail" "apt-get update failed"
	# shellcheck disable=SC2086  # package names hold no blanks
	run_child $install -qq >/dev/null || fail "$exit_tempfail" "this failed: $install"
}

# What nothing depends on: root gets it, everybody else does without.
packages_want() {
	((EUID != 0)) || packages_need "$@"
}

# What build_tree builds: the name of a function that prints ninja's targets for DIR; empty: all.
build_what=

# The programs and libraries, without the tests.
product_targets() {
	targets_of "$1" --targets "[f for t in found for f in t['filename'] if
		t['type'] in ('executable', 'shared library') and '/tests/' not in f]"
}

# What the tests of the suite tsan need.
tsan_targets() {
	targets_of "$1" --tests "[t['cmd'][0] for t in found if
		any(s.endswith(':tsan') for s in t['suite'])]"
}

# targets_of DIR QUESTION EXPRESSION: file names in DIR, of what meson tells.
targets_of() {
	meson introspect "$2" "$1" | python3 -c "import json, os, sys
found = json.load(sys.stdin)
for name in sorted(set($3)):
    print(os.path.relpath(name, sys.argv[1]))" "$1"
}

# build_tree DIR [meson options]: sets it up anew when it was made for another folder or by us with
# other options; a folder that somebody else set up keeps the options it has.
build_tree() {
	local dir=$1 begin=$SECONDS log options targets=()
	shift
	log=$dir/mmbroker-build.log
	options=$dir/mmbroker-options
	if ! grep -qsF "\"source\": \"$root\"" "$dir/meson-info/meson-info.json" ||
		[[ -f $options && $(<"$options") != "$*" ]]; then
		rm -rf "$dir" 2>/dev/null || true
	fi
	mkdir -p "$dir" 2>/dev/null && [[ -w $dir ]] ||
		fail 73 "$dir can't be written: take a copy of $root that is yours"
	if [[ ! -f $dir/build.ninja ]]; then
		run_logged "$log" meson setup "$@" "$dir" "$root" || return
		echo "$*" >"$options"
	fi
	[[ -z $build_what ]] || mapfile -t targets < <("$build_what" "$dir")
	run_logged "$log" ninja -C "$dir" "${targets[@]}" || return
	say "built ${dir#"$root"/} in $((SECONDS - begin)) s"
}

nr_hugepages=/proc/sys/vm/nr_hugepages

# hugepages_take MIB: asks for so many more; what came is in $hugepages_mib (0 without root).
hugepages_take() {
	local before now available surplus
	hugepages_mib=0 hugepages_taken=0
	((EUID == 0)) && [[ -w $nr_hugepages ]] || return 0
	grep -q '^Hugepagesize: *2048 kB' /proc/meminfo || return 0
	available=$(awk '/^MemAvailable/ { print int($2 / 1024) }' /proc/meminfo)
	(($1 * 4 <= available)) || return 0
	before=$(<"$nr_hugepages")
	# In use beyond that number since it was lowered: they would be the first to be counted.
	surplus=$(awk '/^HugePages_Surp:/ { print $2 }' /proc/meminfo)
	undo_push hugepages_put_back "$before"
	echo $((before + surplus + $1 / 2)) >"$nr_hugepages" || return 0
	now=$(<"$nr_hugepages")
	hugepages_taken=$((now - before))
	((hugepages_taken <= surplus)) || hugepages_mib=$(((hugepages_taken - surplus) * 2))
}

hugepages_put_back() {
	local now wanted
	now=$(<"$nr_hugepages")
	wanted=$((now - hugepages_taken))
	# Nothing was taken if the signal came first.
	((hugepages_taken > 0)) || wanted=$1
	echo "$((wanted > 0 ? wanted : 0))" >"$nr_hugepages"
}

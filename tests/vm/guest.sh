#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# guest - what is tried inside the machine, under its own systemd
#
# Prints one line a promise, "passed ..." or "FAILED ...", and last "N passed, N failed, N skipped".
# Waits are for conditions; emulation is slow.
set -u
export PATH=/usr/sbin:/usr/bin SYSTEMD_PAGER='' SYSTEMD_COLORS=0

passed=0 failed=0 skipped=0
socket=/run/mmbroker/mmbroker.sock
config=/etc/mmbroker/mmbrokerd.conf
patience=300

passed() { passed=$((passed + 1)); echo "passed   $1"; }
failed() {
	failed=$((failed + 1))
	echo "FAILED   $1${2:+: $(tail -c 300 <<<"$2" | tr '\n' ' ')}"
	journalctl -u mmbrokerd -n 5 --no-pager -o cat | sed 's/^/#   /'
}
skipped() { skipped=$((skipped + 1)); echo "skip     $1: $2"; }

# promise SENTENCE COMMAND...: the command succeeds
promise() {
	local sentence=$1 said
	shift
	if said=$("$@" 2>&1); then passed "$sentence"; else failed "$sentence" "$said"; fi
}

# within SECONDS COMMAND...
within() {
	local end=$((SECONDS + $1))
	shift
	until "$@" >/dev/null 2>&1; do
		((SECONDS < end)) || { "$@"; return 1; }
		sleep 0.2
	done
}

is() { [[ $1 == "$2" ]] || { echo "'$1' is not '$2'"; return 1; }; }
like() { [[ $1 == $2 ]] || { echo "'$1' is not like '$2'"; return 1; }; }
property() { systemctl show -p "$1" --value mmbrokerd.service; }
pid() { property MainPID; }
active() { is "$(property ActiveState)" active; }
answers() { mmbctl -s "$socket" -t 20 status >/dev/null; }
another() { local now; now=$(pid); [[ $now != 0 && $now != "$1" ]]; }
other_than() { local now; now=$(pid); [[ $now != 0 && $now != "$1" ]] && active && answers; }

# Clients: client_start NAME USER PAGES [REGION] and its first line in $greeting; ask NAME WORD
declare -A to from process
client_start() {
	local name=$1 user=$2
	shift 2
	mkfifo "/tmp/$name.in" "/tmp/$name.out"
	setpriv --reuid "$user" --regid "$user" --init-groups \
		/opt/service_client "$socket" "$@" <"/tmp/$name.in" >"/tmp/$name.out" \
		2>"/tmp/$name.err" &
	process[$name]=$!
	exec {to[$name]}>"/tmp/$name.in" {from[$name]}<"/tmp/$name.out"
	rm "/tmp/$name.in" "/tmp/$name.out"
	greeting=$(answer "$name")
}
answer() { local line; IFS= read -r -t "$patience" -u "${from[$1]}" line; echo "$line"; }
ask() {
	if kill -0 "${process[$1]}" 2>/dev/null; then
		echo "$2" >&"${to[$1]}"
		answer "$1"
	else
		wait "${process[$1]}" # a child of the shell that asks; else 127
		echo "the client has ended (status $?): $(tail -n 2 "/tmp/$1.err")"
		dmesg | grep -i 'killed process\|segfault\|traps:' | tail -n 2
	fi
}
client_end() { exec {to[$1]}>&- {from[$1]}<&-; }

starts() {
	systemctl start mmbrokerd || { systemctl status mmbrokerd; return 1; }
	answers
}

runs_as_its_user() {
	is "$(stat -c %U "/proc/$(pid)")" mmbroker &&
		is "$(awk '/^CapEff/ { print $2 }' "/proc/$(pid)/status")" 0000000000884000 &&
		is "$(awk '/^NoNewPrivs/ { print $2 }' "/proc/$(pid)/status")" 1 &&
		is "$(awk '/^Seccomp:/ { print $2 }' "/proc/$(pid)/status")" 2
}

status_line() { like "$(property StatusText)" '*sessions, * regions, * MiB in use, * faults/s'; }
device() { is "$(stat -c '%G %a' /dev/userfaultfd)" 'mmbroker 660'; }

hugepages_reserved() {
	local node sum=0
	for node in 0 1; do
		node=/sys/devices/system/node/node$node/hugepages/hugepages-2048kB/nr_hugepages
		(($(<"$node") > 0)) || { echo "none in $node"; return 1; }
		sum=$((sum + $(<"$node")))
	done
	((sum >= 32)) || { echo "$sum"; return 1; }
	is "$(systemctl show -p Result --value mmbroker-hugepages.service)" success
}

two_nodes() {
	local text
	text=$(mmbctl -s "$socket" --json status) || return
	like "$text" '*"node":0*"stock":"huge"*"node":1*"stock":"huge"*' &&
		like "$text" '*"reserve_mode":"hold"*'
}

all_features() {
	local text
	text=$(journalctl -u mmbrokerd -b -o cat --no-pager)
	! grep -E 'not locked|no_userfaultfd_device|thread pool instead|can.t be pinned' <<<"$text"
}

doctor() { ! mmbctl -s "$socket" doctor | grep '^fail'; }

score() {
	systemd-analyze security --threshold=25 --no-pager mmbrokerd.service >/tmp/score ||
		{ tail -n 1 /tmp/score; return 1; }
}

members_only() {
	client_start stranger other 4
	like "$greeting" 'failed open*'
}

client_works() {
	is "$(ask one fill)" filled && is "$(ask one check)" good && is "$(ask one ping)" pong
}

journal_fields() {
	local event
	event=$(journalctl -u mmbrokerd MMB_EVENT=ready -n 1 -o export --no-pager)
	like "$event" '*MESSAGE_ID=????????????????????????????????*' &&
		like "$event" '*SYSLOG_IDENTIFIER=mmbrokerd*' &&
		like "$(journalctl -u mmbrokerd MMB_EVENT=ready -n 1 -x --no-pager)" \
			'*The memory broker serves*'
}

reload() {
	sed -i '$a [log]\nlevel = debug' "$config"
	systemctl reload mmbrokerd && is "$(mmbctl -s "$socket" log-level)" debug && active
}

reload_mistake() {
	cp "$config" /tmp/good
	echo 'frobs = 1' >>"$config"
	! systemctl reload mmbrokerd 2>/dev/null && active && answers || return
	cp /tmp/good "$config"
	systemctl reload mmbrokerd
}

reexec() {
	local before
	before=$(pid)
	systemctl daemon-reexec && within "$patience" active && is "$(pid)" "$before" &&
		client_works
}

killed() {
	local before
	before=$(pid)
	kill -KILL "$before"
	within "$patience" other_than "$before"
}

resumes() { is "$(ask one check)" good && is "$(ask one ping)" pong; }

# The whole process stands still, its main thread too.
hung() {
	local before begin=$SECONDS
	before=$(pid)
	kill -STOP "$before"
	within "$patience" another "$before" || return
	echo "# another process was started after $((SECONDS - begin)) s" >&3
	((SECONDS - begin <= 20)) || { echo "took $((SECONDS - begin)) s"; return 1; }
	within "$patience" other_than "$before" || return
	like "$(journalctl -u mmbrokerd -o cat --no-pager -n 60)" '*Watchdog timeout*'
}

restarts() {
	local before
	before=$(pid)
	systemctl restart mmbrokerd && other_than "$before"
}

# A release whose state is of another version is put in the program's place, and taken back.
other_release() {
	local before program=/usr/sbin/mmbrokerd
	before=$(pid)
	cp -p $program /tmp/this && { cat /opt/mmbrokerd-inject; printf next; } >$program.new &&
		chmod 755 $program.new && mv $program.new $program &&
		systemctl restart mmbrokerd && other_than "$before" &&
		like "$(readlink "/proc/$(pid)/exe")" '*\(deleted\)' &&
		journalctl -u mmbrokerd MMB_EVENT=state_refused -n 1 -o cat | grep -q 'goes on'
}

release_again() {
	local before program=/usr/sbin/mmbrokerd
	before=$(pid)
	cp -p /tmp/this $program.new && mv $program.new $program && systemctl restart mmbrokerd &&
		other_than "$before" &&
		is "$(readlink "/proc/$(pid)/exe")" "$(readlink -f $program)"
}

# With every kind of end in a row, and a manager that executes itself anew in between.
many_ends() {
	local i
	for i in 1 2 3 4 5; do
		killed || return
		systemctl daemon-reexec
		resumes || return
	done
}

stops_with_clients() {
	client_start last client 64
	is "$greeting" ready && is "$(ask last fill)" filled &&
		systemctl stop mmbrokerd.socket mmbrokerd.service &&
		is "$(property ActiveState)" inactive && is "$(property Result)" success &&
		like "$(ask last check)" 'sigbus the broker has been stopped*'
}

socket_activates() {
	systemctl start mmbrokerd.socket && answers && active
}

exec 3>&1
usermod -aG mmbroker client
promise "hugepages were reserved early in boot, on both nodes" hugepages_reserved
promise "the unit starts, and the broker answers" starts
if ! active; then # the rest would take its time to say the same
	journalctl -b -n 40 --no-pager
	echo "$passed passed, $failed failed, $skipped skipped"
	exit 1
fi
promise "it runs as its own user with three capabilities and a system call filter" runs_as_its_user
promise "systemctl status shows a line that lives" within 20 status_line
promise "the udev rule gives /dev/userfaultfd to the group" device
promise "hardened, it has its memory on both nodes, huge and held" two_nodes
promise "hardened, all its features work" all_features
promise "doctor finds no failure" doctor
promise "the exposure score is at most 2.5" score
promise "a user outside the group can't connect" members_only
client_start one client 256
promise "a client of the group gets memory" is "$greeting" ready
promise "it reads what it wrote" client_works
promise "the journal has events with fields, ids and explanations" journal_fields
promise "systemctl reload puts a live key into force" reload
promise "systemctl reload fails with a mistake, and the broker serves on" reload_mistake
promise "daemon-reexec leaves broker and client alone" reexec
promise "verify finds no difference" mmbctl -s "$socket" -t 60 verify
promise "a killed broker is started again" killed
if journalctl -u mmbrokerd MMB_EVENT=resumed -n 1 -o cat --no-pager | grep -q .; then
	promise "its client lost nothing" resumes
	promise "a broker that hangs is replaced within twice WatchdogSec" hung
	promise "its client lost nothing" resumes
	promise "a restart replaces the process" restarts
	promise "its client lost nothing" resumes
	promise "a release that can't take over leaves the last one serving" other_release
	promise "its client lost nothing" resumes
	promise "one that can takes over from that" release_again
	promise "its client lost nothing" resumes
	promise "kills and re-executions of the manager in turns cost nothing" many_ends
	promise "verify finds no difference" mmbctl -s "$socket" -t 60 verify
else
	skipped "its client lost nothing" "this broker doesn't resume"
	promise "a broker that hangs is replaced within twice WatchdogSec" hung
	promise "a restart replaces the process" restarts
fi
promise "a stop with clients attached gives them SIGBUS with a cause" stops_with_clients
promise "the socket starts it again" socket_activates
echo "$passed passed, $failed failed, $skipped skipped"

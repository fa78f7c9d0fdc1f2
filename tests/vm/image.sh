#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# image - makes what the virtual machine boots: a kernel, and a root file system from packages
#
# usage: image.sh FOLDER
# Leaves in FOLDER: tree/ (a file system without the project), vmlinuz, versions. Packages are
# fetched from where this host's apt is set up to fetch from; the kernel, if that has none of 6.12
# or newer, from the same place's backports. Nothing is installed on this host and no maintainer
# script is run. A FOLDER that is complete is left as it is. Exit status 77: something can't be
# fetched.
set -euo pipefail

folder=$1
packages=(base-files base-passwd bash coreutils dash dbus findutils gawk grep kmod libc-bin
	login mount passwd procps sed systemd systemd-sysv udev usr-is-merged util-linux
	util-linux-extra libevent-core-2.1-7 libevent-pthreads-2.1-7 libhwloc15 libinih1
	libnuma1 libprotobuf-c1 libsystemd0 liburing2)
kernel=linux-image-cloud-amd64
kernel_least=6.12

cannot() {
	printf 'skip: %s\n' "$1" >&2
	exit 77
}

# apt with lists, cache and (empty) package database of our own; more options may stand first.
apt_ours() {
	"$1" -o Dir::State::status="$folder/apt/status" -o Dir::State::lists="$folder/apt/lists" \
		-o Dir::Cache="$folder/apt/cache" -o APT::Install-Recommends=0 \
		-o Debug::NoLocking=1 -o APT::Sandbox::User=root "${@:2}"
}

# This host's sources, and the backports of its main one.
write_sources() {
	local line uri suite signed
	mkdir -p "$folder"/apt/{lists/partial,cache/archives/partial,parts}
	: >"$folder/apt/status"
	cp -r /etc/apt/sources.list.d/. "$folder/apt/parts"
	[[ ! -f /etc/apt/sources.list ]] || cp /etc/apt/sources.list "$folder/apt/parts/host.list"
	line=$(apt-get indextargets --format '$(REPO_URI) $(CODENAME) $(SIGNED_BY)' \
		'Created-By: Packages' 'Component: main' | awk '$2 !~ /-/ { print; exit }')
	read -r uri suite _ <<<"$line"
	[[ -n ${uri:-} ]] || cannot "apt has no package lists: apt-get update"
	signed=$(grep -hoPm1 '^Signed-By: *\K/\S+' "$folder"/apt/parts/*.sources 2>/dev/null |
		head -n 1) || true
	printf 'deb %s%s %s-backports main\n' "${signed:+[signed-by=$signed] }" "$uri" "$suite" \
		>"$folder/apt/parts/backports.list"
	sources=(-o Dir::Etc::sourcelist=/dev/null -o Dir::Etc::sourceparts="$folder/apt/parts")
}

fetch() {
	local version
	apt_ours apt-get "${sources[@]}" update -qq >"$folder/apt/log" 2>&1 ||
		cannot "package lists can't be fetched: $folder/apt/log"
	version=$(apt_ours apt-cache "${sources[@]}" policy "$kernel" |
		awk '/Candidate:/ { print $2 }')
	if dpkg --compare-versions "$version" lt "$kernel_least"; then
		version=$(apt_ours apt-cache "${sources[@]}" madison "$kernel" |
			awk '{ print $3 }' | sort -V | tail -n 1)
	fi
	dpkg --compare-versions "$version" ge "$kernel_least" ||
		cannot "no $kernel of version $kernel_least or newer is to be had"
	kernel=$(apt_ours apt-cache "${sources[@]}" show "$kernel=$version" |
		awk '/^Depends:/ { print $2; exit }')
	apt_ours apt-get "${sources[@]}" install -y -qq --download-only "${packages[@]}" \
		>>"$folder/apt/log" 2>&1 || cannot "packages can't be fetched: $folder/apt/log"
	(cd "$folder/apt" && apt_ours apt-get "${sources[@]}" download -qq "$kernel") \
		>>"$folder/apt/log" 2>&1 || cannot "$kernel can't be fetched: $folder/apt/log"
}

unpack() {
	local package top
	mkdir -p "$tree"/{dev,etc,proc,run,sys,tmp,var/{lib,log,tmp},usr/{bin,sbin,lib,lib64}}
	for top in bin sbin lib lib64; do ln -s "usr/$top" "$tree/$top"; done
	for package in "$folder"/apt/cache/archives/*.deb; do
		case ${package##*/} in perl* | libperl* | usrmerge* | lib*-perl*) continue ;; esac
		dpkg-deb --fsys-tarfile "$package" | tar -x -C "$tree" --keep-directory-symlink \
			--exclude='./usr/share/doc' --exclude='./usr/share/man' \
			--exclude='./usr/share/locale' --exclude='./usr/lib/udev/hwdb.d'
	done
	mkdir "$folder/kernel"
	dpkg-deb -x "$folder"/apt/linux-image-*.deb "$folder/kernel"
	cp "$folder"/kernel/boot/vmlinuz-* "$folder/vmlinuz"
	rm -rf "$folder/kernel"
	package=$(basename "$folder"/apt/cache/archives/systemd_*.deb _amd64.deb)
	printf '%s, systemd %s\n' "$kernel" "${package#systemd_}" >"$folder/versions"
}

# What maintainer scripts would have done, as far as a start needs it.
settle() {
	cp "$tree/usr/share/base-passwd/passwd.master" "$tree/etc/passwd"
	cp "$tree/usr/share/base-passwd/group.master" "$tree/etc/group"
	printf 'client:x:1000:1000::/tmp:/bin/bash\nother:x:1001:1001::/tmp:/bin/bash\n' \
		>>"$tree/etc/passwd"
	printf 'client:x:1000:\nother:x:1001:\nmessagebus:x:101:\n' >>"$tree/etc/group"
	printf 'messagebus:x:101:101::/nonexistent:/usr/sbin/nologin\n' >>"$tree/etc/passwd"
	echo vm >"$tree/etc/hostname"
	echo uninitialized >"$tree/etc/machine-id"
	ln -sf mawk "$tree/usr/bin/awk"
	[[ ! -e $tree/usr/bin/gawk ]] || ln -sf gawk "$tree/usr/bin/awk"
	ln -sf dash "$tree/usr/bin/sh"
	ldconfig -r "$tree"
	# What only takes time here.
	local unit
	for unit in systemd-hwdb-update systemd-timesyncd systemd-resolved systemd-networkd \
		systemd-firstboot ldconfig systemd-update-done getty@tty1 serial-getty@ttyS0 \
		systemd-logind systemd-random-seed systemd-pcrphase systemd-pcrphase-sysinit \
		systemd-boot-update systemd-binfmt fstrim systemd-machine-id-commit; do
		ln -sf /dev/null "$tree/etc/systemd/system/$unit.service"
	done
	for unit in apt-daily.timer apt-daily-upgrade.timer fstrim.timer dpkg-db-backup.timer \
		systemd-tmpfiles-clean.timer; do
		ln -sf /dev/null "$tree/etc/systemd/system/$unit"
	done
}

[[ ! -f $folder/complete ]] || exit 0
rm -rf "$folder"
mkdir -p "$folder"
folder=$(cd "$folder" && pwd -P)
tree=$folder/tree
write_sources
fetch
unpack
settle
rm -rf "$folder/apt/cache" "$folder/apt/lists"
touch "$folder/complete"

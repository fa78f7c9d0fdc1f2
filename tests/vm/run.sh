#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# run - the suite of the virtual machine: installs the project into it, boots it, reads its results
#
# usage: run.sh ROOT       ROOT: the repository; $MMB_QEMU_ARGS: more of the emulator's arguments
# The machine is emulated (no KVM is needed), has two NUMA nodes, Debian's kernel and Debian's
# systemd as its first process. Everything lies in ROOT/build-vm. When all promises were kept, the
# file tests/vm/last-green says when and with what. Exit status as a test: 0, 1, or 77 with a
# reason.
set -euo pipefail

root=$(cd -- "$1" && pwd -P)
here=$root/tests/vm
work=$root/build-vm/machine
# Of what is built below, whatever is committed meanwhile.
commit=$(git -C "$root" describe --always --dirty --abbrev=12 --exclude='*' 2>/dev/null ||
	echo unknown)
minutes=30

skip() {
	printf 'skip: %s\n' "$1"
	exit 77
}

command -v qemu-system-x86_64 >/dev/null || skip "qemu-system-x86_64 isn't installed"
command -v cpio >/dev/null || skip "cpio isn't installed"
((EUID == 0)) || skip "packages can only be unpacked with their owners by root"

# With the prefix of a distribution, so that systemd finds everything.
if [[ ! -f $root/build-vm/build.ninja ]]; then
	meson setup --prefix=/usr "$root/build-vm" "$root" >"$root/build-vm.log" 2>&1 ||
		{ tail -n 20 "$root/build-vm.log"; exit 1; }
	mv "$root/build-vm.log" "$root/build-vm/setup.log"
fi
ninja -C "$root/build-vm" >"$root/build-vm/ninja.log" 2>&1 ||
	{ tail -n 20 "$root/build-vm/ninja.log"; exit 1; }

"$here/image.sh" "$root/build-vm/image"
image=$root/build-vm/image

# A copy of the image with the project, its user's configuration, and the test.
rm -rf "$work"
mkdir -p "$work"
cp -a "$image/tree" "$work/tree"
tree=$work/tree
DESTDIR=$tree meson install -C "$root/build-vm" --no-rebuild >"$work/install.log"
# What the programs are linked with and the image has not.
ldd "$tree/usr/sbin/mmbrokerd" "$tree/usr/bin/mmbctl" | awk '$3 ~ /^\// { print $3 }' | sort -u |
	while read -r library; do
		[[ -e $tree$library ]] || cp -L "$library" "$tree/usr/lib/x86_64-linux-gnu/"
	done
ldconfig -r "$tree"
journalctl --root="$tree" --update-catalog
systemd-sysusers --root="$tree" 2>/dev/null
mkdir -p "$tree/etc/mmbroker"
printf '[memory]\nreserve = 256M\nreserve_huge = 64M\nreserve_mode = hold\n' \
	>"$tree/etc/mmbroker/mmbrokerd.conf"
install -D "$root/build-vm/tests/system/service_client" "$tree/usr/opt/service_client"
install "$root/build-vm/tests/system/mmbrokerd-inject" "$tree/usr/opt/mmbrokerd-inject"
ln -s usr/opt "$tree/opt"
install "$here/guest.sh" "$tree/usr/opt/guest.sh"
install "$here/start" "$tree/start"
cat >"$tree/etc/systemd/system/guest.service" <<'UNIT'
[Unit]
Description=The suite
After=multi-user.target
[Service]
Type=oneshot
StandardOutput=file:/dev/ttyS1
StandardError=file:/dev/ttyS1
ExecStart=/opt/guest.sh
ExecStopPost=systemctl --force --force poweroff
UNIT
systemctl --root="$tree" enable guest.service mmbroker-hugepages.service mmbrokerd.socket \
	>/dev/null 2>&1 || true
mkdir -p "$tree/etc/systemd/system/graphical.target.wants"
ln -sf ../guest.service "$tree/etc/systemd/system/graphical.target.wants/guest.service"
(cd "$tree" && find . | cpio -o -H newc --quiet) >"$work/initrd"

# Without cx16: some releases of the emulator damage the flags after that instruction, on which
# kernels since 6.6 build their allocator.
memory() {
	printf -- '-object memory-backend-ram,id=m%d,size=1280M ' "$1"
	printf -- '-numa node,nodeid=%d,cpus=%d,memdev=m%d ' "$1" "$1" "$1"
}
status=0
# shellcheck disable=SC2046  # words are wanted
timeout --kill-after=20 "${minutes}m" qemu-system-x86_64 -accel tcg,thread=multi -machine q35 \
	-cpu max,-cx16 -smp 2 -m 2560 $(memory 0) $(memory 1) -nodefaults -no-reboot -display none \
	-serial file:"$work/console" -serial file:"$work/results" \
	-kernel "$image/vmlinuz" -initrd "$work/initrd" \
	-append "console=ttyS0 rdinit=/start panic=-1 quiet systemd.show_status=no" \
	${MMB_QEMU_ARGS:-} </dev/null >"$work/qemu.log" 2>&1 || status=$?
tr -d '\r' <"$work/results" | sed '/^Powering off/d' | tee "$work/said"
closing=$(tail -n 1 "$work/said")
if ((status != 0)) || [[ $closing != *passed*failed* ]]; then
	printf 'FAILED   the machine came to its end (status %s); its console: %s\n' "$status" \
		"$work/console"
	tail -n 15 "$work/console"
	exit 1
fi
[[ $closing == *' 0 failed'* ]] || exit 1
{
	date -u '+%Y-%m-%d %H:%M UTC'
	echo "commit $commit"
	cat "$image/versions"
	echo "$closing"
} >"$here/last-green"

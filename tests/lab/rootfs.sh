#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# rootfs.sh: makes the image of a small, stock Debian system with systemd, whose boot ends in
# guest/debian.sh, and prints its path. Cached by what it is made of. Needs root, like any debootstrap; exit
# status 77 where it can't be made.
set -eu
PATH=$PATH:/usr/sbin:/sbin
# shellcheck source=cache.sh
. "$(dirname "$0")/cache.sh"
suite=bookworm size=320M

for tool in mmdebstrap mkfs.ext4; do
	command -v $tool >/dev/null || { echo "rootfs: package ${tool/mkfs.ext4/e2fsprogs} is missing" >&2; exit 77; }
done
[ "$(id -u)" -eq 0 ] || { echo "rootfs: only root can install a system" >&2; exit 77; }
sum=$(cat "$0" "$here/guest/debian.sh" | sha256sum | cut -c 1-12)
image=$cache/rootfs-$suite-$sum.ext4
exec 9>"$cache/.lock.rootfs"
flock 9
if [ -e "$image" ]; then
	echo "$image"
	exit 0
fi

tmp=$(mktemp -d "$cache/rootfs.tmp.XXXXXX")
trap 'rm -rf "$tmp"' EXIT
# The package sources of this machine, and how it reaches them.
sources=()
for f in /etc/apt/sources.list /etc/apt/sources.list.d/debian.sources; do
	[ ! -s "$f" ] || sources+=("$f")
done
apt-config dump 2>/dev/null | grep -E '^Acquire::(Check-|http|https|Retries)' >"$tmp/apt.conf" || true

# What a person reads isn't needed, and every file costs time.
if ! mmdebstrap --quiet --variant=minbase --include=systemd-sysv,procps --aptopt="$tmp/apt.conf" \
	--dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/doc/*' \
	--dpkgopt='path-exclude=/usr/share/locale/*' --skip=cleanup/reproducible \
	"$suite" "$tmp/root" ${sources[@]+"${sources[@]}"} >"$tmp/log" 2>&1; then
	tail -n 5 "$tmp/log" >&2
	echo "rootfs: Debian can't be installed" >&2
	exit 77
fi
root=$tmp/root
# The guest has no network, and nobody's address is in it.
echo "deb http://deb.debian.org/debian $suite main" >"$root/etc/apt/sources.list"
rm -rf "$root"/etc/apt/sources.list.d/* "$root"/etc/apt/apt.conf.d/*mmdebstrap*
echo "/dev/vda / ext4 defaults 0 0" >"$root/etc/fstab"
echo hmx >"$root/etc/hostname"
install -m 755 "$here/guest/debian.sh" "$root/usr/local/sbin/hmx-lab"
cat >"$root/etc/systemd/system/hmx-lab.service" <<-'UNIT'
	[Unit]
	Description=Check of the root disk
	After=multi-user.target

	[Service]
	Type=oneshot
	ExecStart=/usr/local/sbin/hmx-lab
	StandardInput=tty
	StandardOutput=tty
	TTYPath=/dev/console

	[Install]
	WantedBy=multi-user.target
UNIT
mkdir -p "$root/etc/systemd/system/multi-user.target.wants"
ln -s ../hmx-lab.service "$root/etc/systemd/system/multi-user.target.wants/hmx-lab.service"
# The console is the script's; timers and updates have nothing to do in a minute.
for unit in serial-getty@.service getty@.service apt-daily.timer apt-daily-upgrade.timer \
	dpkg-db-backup.timer systemd-update-utmp.service; do
	ln -sf /dev/null "$root/etc/systemd/system/$unit"
done
truncate -s $size "$tmp/image"
mkfs.ext4 -q -F -L hmx-root -d "$root" "$tmp/image"
mv -T "$tmp/image" "$image"
echo "$image"

#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# The Debian packages as an operator meets them: built from this tree, without a word from lintian, installed in a
# clean system, used there, the guest driver built by DKMS for that system's kernel, and purged without a trace.
# The clean system is made once and kept in the cache.
# shellcheck source=../lab/lib.sh
. "$(dirname "$0")/../lab/lib.sh"
# shellcheck source=../lab/cache.sh
. "$vhx_lab/cache.sh"

[ "$(id -u)" -eq 0 ] || skip "only root can enter a clean system"
need dpkg-buildpackage dpkg-dev
need dh debhelper
need_file /usr/bin/dh_dkms dh-dkms
need lintian lintian
need mmdebstrap mmdebstrap
unshare --mount --pid --fork true 2>/dev/null || skip "this machine lets root have no mounts of its own"
suite=$(sed -n 's/^VERSION_CODENAME=//p' /etc/os-release)
arch=$(dpkg --print-architecture)
[ -n "$suite" ] || skip "which Debian this is, is not known"
packages=(virtio-hmx libvhx0 libvhx-dev hmx-dkms)

"$vhx_root/packaging/deb.sh" "$tmp/out" >"$tmp/build.log" 2>&1 || fail "the packages do not build"
lintian --fail-on error,warning --allow-root "$tmp"/out/*.changes >"$tmp/lintian.log" 2>&1 ||
	fail "lintian: $(cat "$tmp/lintian.log")"
echo "built, and lintian says: '$(cat "$tmp/lintian.log")'"

# What they need, by name; and what DKMS and a program on libvhx need besides.
depends=$(for p in virtio-hmx libvhx0; do
	dpkg-deb -f "$tmp"/out/${p}_*.deb Depends
done | tr ',' '\n' | sed 's/^ *//; s/[ |].*//' | sort -u | tr '\n' ',')
include=${depends}dkms,linux-headers-$arch,libc6-dev
base=$cache/deb-base-$suite-$arch-$(sha256sum <<<"$include" | cut -c 1-12).tar
(
	flock 9
	[ -e "$base" ] && exit
	mmdebstrap --quiet --variant=minbase --include="$include" "$suite" "$base.tmp.tar" >"$tmp/base.log" 2>&1 &&
		mv "$base.tmp.tar" "$base"
) 9>"$cache/.lock-deb" || skip "no clean system can be made here: $(tail -n 1 "$tmp/base.log")"
mkdir "$tmp/root"
tar -C "$tmp/root" -xf "$base" || fail "the clean system can't be unpacked"
mkdir "$tmp/root/debs"
cp "$tmp"/out/*.deb "$tmp/root/debs"
rm "$tmp"/root/debs/*-dbgsym_*

# inside COMMAND...: in the clean system, with processes and devices of its own, which end with it. No network.
# shellcheck disable=SC2016 # $@ and $0 are for the shell that is started
inside() {
	unshare --mount --pid --net --fork --kill-child --mount-proc sh -c '
		mount --bind "$0" "$0" && mount -t proc proc "$0/proc" && mount -t tmpfs shm "$0/dev/shm" 2>/dev/null
		exec chroot "$0" /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C \
			DEBIAN_FRONTEND=noninteractive "$@"' "$tmp/root" "$@"
}

# What there is of files, but for the accounts of dpkg and the logs of DKMS.
files() {
	(cd "$tmp/root" && find . -xdev -path ./debs -prune -o -path ./proc -prune -o -path ./var/lib/dpkg -prune -o \
		-path ./var/cache -prune -o -path ./var/log -prune -o -path ./etc/ld.so.cache -prune -o -print | sort)
}

mkdir -p "$tmp/root/dev/shm"
kernel=$(basename "$(echo "$tmp"/root/usr/src/linux-headers-*-"$arch")")
kernel=${kernel#linux-headers-}
# The index of modules is the kernel's, and made anew whenever one comes or goes.
inside depmod "$kernel" >"$tmp/depmod.log" 2>&1 || fail "no index of modules"
files >"$tmp/before"
inside sh -c 'dpkg -i /debs/*.deb' >"$tmp/install.log" 2>&1 || fail "they can't be installed"

# Used: a device of one's own, a disk, its counters, a trace. Programs are built as the manual says.
cat >"$tmp/root/debs/use.sh" <<'USE'
set -eu
cd /debs
for p in vhx-backend vhx-frontend vhx-ivshmem vhxctl; do
	$p --version
	[ -s /usr/share/man/man1/$p.1.gz ]
	[ -s /usr/share/bash-completion/completions/$p ]
done
for e in blk-read ram-disk; do
	gcc -Wall -Werror /usr/share/doc/libvhx-dev/examples/$e.c -lvhx -o $e
done
truncate -s 1M disk.img
vhx-backend --listen unix:/debs/be.sock --control /debs/be.ctl --device blk,file=disk.img &
./ram-disk unix:/debs/ram.sock &
./blk-read unix:/debs/be.sock 0
./blk-read unix:/debs/ram.sock 0
vhxctl stats /debs/be.ctl --json | grep -q '"completed":1'
vhxctl trace /debs/be.ctl -w trace.pcapng --seconds 1
[ -s trace.pcapng ]
kill %1 %2
wait %1
wait %2
USE
inside timeout 120 bash /debs/use.sh >"$tmp/use.log" 2>&1 || fail "they can't be used"
echo "installed and used"

inside sh -c "[ -e /var/lib/dkms/hmx/*/$kernel ] || dkms install \$(dkms status hmx | sed 's/[,:].*//') -k $kernel" \
	>"$tmp/dkms.log" 2>&1 || fail "DKMS can't build the driver for $kernel"
for module in virtio_hmx hmx_window hmx_ivshmem; do
	find "$tmp/root/lib/modules/$kernel/updates/dkms/" -name "$module.ko*" | grep -q . || fail "no $module for $kernel"
done
echo "driver built for $kernel"

inside dpkg -P "${packages[@]}" >"$tmp/purge.log" 2>&1 || fail "they can't be purged"
files >"$tmp/after"
diff "$tmp/before" "$tmp/after" >"$tmp/left" || fail "left behind: $(cat "$tmp/left")"
echo "purged"

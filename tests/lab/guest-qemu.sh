#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# guest-qemu.sh [6.1|6.12|sid [amd64|arm64]]: prepares a stock Debian guest for QEMU (downloaded, never
# installed) and prints its directory: vmlinuz, initramfs.cpio, fio.cpio, and the unpacked package as
# root. Cached by version; sid, Debian's newest kernel, is of the day that the cache got it.
set -eu
PATH=$PATH:/usr/sbin:/sbin
# shellcheck source=cache.sh
. "$(dirname "$0")/cache.sh"
# shellcheck source=deb.sh
. "$here/deb.sh"
kernel=${1:-6.1} arch=${2:-amd64}
case $kernel-$arch in
6.1-amd64) package=meta:linux-image-amd64 ;;
6.1-arm64) package=meta:linux-image-arm64 ;;
6.12-*) package=meta:linux-image-6.12-$arch ;;
sid-amd64) package='' ;;
*) echo "guest-qemu: no kernel $kernel for $arch" >&2; exit 2 ;;
esac
[ "$arch" = "$(dpkg --print-architecture)" ] || deb_arch=$arch

# sid_fetch: the kernel of a whole system, whose compiler and C library its headers want. As root, because modules
# are built in there.
sid_fetch() {
	local dir=$cache/linux-sid-amd64 tmp=$cache/linux-sid-amd64.tmp.$$
	if [ ! -d "$dir" ]; then
		[ "$(id -u)" -eq 0 ] && command -v mmdebstrap >/dev/null || return
		mkdir "$tmp"
		# The nearest mirror may be an old picture of a branch that changes daily.
		if ! mmdebstrap --quiet --variant=apt --aptopt='Acquire::Check-Valid-Until "false"' \
			--include=linux-image-amd64,linux-headers-amd64,make sid "$tmp/root" >"$tmp/log" 2>&1; then
			cat "$tmp/log" >&2
			rm -rf "$tmp"
			return
		fi
		mv -T "$tmp" "$dir"
	fi
	echo "$dir"
}

exec 9>"$cache/.lock"
flock 9
case $kernel in
sid) dir=$(sid_fetch) ;;
*) dir=$(deb_fetch "$cache" "$package" "linux-$kernel-$arch") ;;
esac
[ -n "$dir" ] || { echo "guest-qemu: kernel $kernel for $arch can't be downloaded" >&2; exit 77; }
version=$(basename "$dir"/root/lib/modules/*)
[ -e "$dir/root/lib/modules/$version/modules.dep" ] || depmod -b "$dir/root" "$version"
if [ -n "$deb_arch" ]; then
	busybox=$(deb_fetch "$cache" busybox-static "busybox-$arch")
	[ -n "$busybox" ] || { echo "guest-qemu: no busybox for $arch" >&2; exit 77; }
	export BUSYBOX=$busybox/root/bin/busybox
fi
vdpa=()
case $kernel-$arch in 6.12-amd64) vdpa=(+vduse +virtio_vdpa +vhost_vdpa) ;; esac
# The first are loaded at boot; the others wait for modprobe.
cache_guest "$dir" "$version" "vmlinuz=root/boot/vmlinuz-$version" virtio_pci virtio_blk ext4 \
	+virtio_net +virtio_console +virtio_rng +vmw_vsock_virtio_transport +tun +virtio_scsi +sd_mod +sg +virtiofs ${vdpa[@]+"${vdpa[@]}"}

#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# guest-qemu.sh: prepares the stock Debian guest for QEMU: the kernel package that linux-image-amd64
# stands for (downloaded, never installed). Prints its directory: vmlinuz, initramfs.cpio, fio.cpio.
set -eu
PATH=$PATH:/usr/sbin:/sbin
here=$(cd "$(dirname "$0")" && pwd)
cache=${VHX_CACHE:-$here/../../cache}
mkdir -p "$cache"
cache=$(cd "$cache" && pwd)
# shellcheck source=deb.sh
. "$here/deb.sh"

exec 9>"$cache/.lock"
flock 9
dir=$(deb_fetch "$cache" meta:linux-image-amd64 linux)
[ -n "$dir" ] || { echo "guest-qemu: the kernel package can't be downloaded" >&2; exit 1; }
version=$(basename "$dir"/root/lib/modules/*)
ln -sfT "root/boot/vmlinuz-$version" "$dir/vmlinuz"

if [ ! -e "$dir/initramfs.cpio" ] || [ "$here/guest/init" -nt "$dir/initramfs.cpio" ] ||
	[ "$here/mkinitramfs.sh" -nt "$dir/initramfs.cpio" ]; then
	depmod -b "$dir/root" "$version"
	"$here/mkinitramfs.sh" "$dir/root" "$version" "$dir/initramfs.cpio" \
		virtio_pci virtio_blk ext4
fi
if [ -x /usr/bin/fio ] && [ ! -e "$dir/fio.cpio" ]; then
	"$here/mkinitramfs.sh" --program /usr/bin/fio "$dir/fio.cpio"
fi
echo "$dir"

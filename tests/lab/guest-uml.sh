#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# guest-uml.sh: prepares the User-Mode Linux guest from Debian's package (downloaded, never
# installed) and prints its directory: linux.uml, initramfs.cpio, fio.cpio. Cached by version.
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
dir=$(deb_fetch "$cache" user-mode-linux uml)
[ -n "$dir" ] || { echo "guest-uml: package user-mode-linux can't be downloaded" >&2; exit 1; }
ln -sfT root/usr/bin/linux.uml "$dir/linux.uml"

if [ ! -e "$dir/initramfs.cpio" ] || [ "$here/guest/init" -nt "$dir/initramfs.cpio" ] ||
	[ "$here/mkinitramfs.sh" -nt "$dir/initramfs.cpio" ]; then
	version=$(basename "$dir"/root/usr/lib/uml/modules/*)
	mkdir -p "$dir/root/lib"
	ln -sfT ../usr/lib/uml/modules "$dir/root/lib/modules"
	depmod -b "$dir/root" "$version"
	"$here/mkinitramfs.sh" "$dir/root" "$version" "$dir/initramfs.cpio" virtio_blk
fi
if [ -x /usr/bin/fio ] && [ ! -e "$dir/fio.cpio" ]; then
	"$here/mkinitramfs.sh" --program /usr/bin/fio "$dir/fio.cpio"
fi
echo "$dir"

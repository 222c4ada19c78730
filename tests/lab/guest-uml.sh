#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# guest-uml.sh: prepares the User-Mode Linux guest from Debian's package (downloaded, never
# installed) and prints its directory: linux, initramfs.cpio, fio.cpio. Cached by version.
set -eu
PATH=$PATH:/usr/sbin:/sbin
# shellcheck source=cache.sh
. "$(dirname "$0")/cache.sh"
# shellcheck source=deb.sh
. "$here/deb.sh"

exec 9>"$cache/.lock"
flock 9
dir=$(deb_fetch "$cache" user-mode-linux uml)
[ -n "$dir" ] || { echo "guest-uml: package user-mode-linux can't be downloaded" >&2; exit 77; }
version=$(basename "$dir"/root/usr/lib/uml/modules/*)
# Some versions of the package bring a modules.dep.
if [ ! -e "$dir/root/lib/modules" ]; then
	mkdir -p "$dir/root/lib"
	ln -sfT ../usr/lib/uml/modules "$dir/root/lib/modules"
	depmod -b "$dir/root" "$version"
fi
# The first is loaded at boot; the others wait for modprobe.
cache_guest "$dir" "$version" linux=root/usr/bin/linux.uml virtio_blk \
	+virtio_net +virtio_console +vmw_vsock_virtio_transport +virtio_scsi +sd_mod +sg

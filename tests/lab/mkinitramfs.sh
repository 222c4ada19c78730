#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# mkinitramfs.sh ROOT VERSION OUT MODULE...: an initramfs of busybox, the lab's init and the named
# modules with what they depend on, in load order. ROOT has lib/modules/VERSION.
# mkinitramfs.sh --program FILE OUT: a dynamic program of the host with its libraries, as an archive
# to append. Kernels unpack any number of archives in a row; modules built into the kernel are
# skipped.
set -eu
PATH=$PATH:/usr/sbin:/sbin
here=$(cd "$(dirname "$0")" && pwd)
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT

pack() {
	(cd "$tmp" && find . -mindepth 1 | LC_ALL=C sort | cpio -o -H newc -R 0:0 --quiet) >"$1.tmp"
	mv "$1.tmp" "$1"
}

add_program() {
	local lib
	install -D "$1" "$tmp$1"
	ldd "$1" | sed -n 's/.*=> \(\/[^ ]*\).*/\1/p; s/^[[:space:]]*\(\/[^ ]*\) (.*/\1/p' |
		while read -r lib; do
			install -D "$(readlink -f "$lib")" "$tmp$lib"
		done
}

add_module() {
	local file name
	modprobe -d "$root" -S "$version" -D "$1" | sed -n 's/^insmod \([^ ]*\).*/\1/p' |
		while read -r file; do
			name=$(basename "$file")
			name=${name%.xz}
			[ -e "$tmp/modules/$name" ] && continue
			case $file in
			*.xz) xz -dc "$file" >"$tmp/modules/$name" ;;
			*) cp "$file" "$tmp/modules/$name" ;;
			esac
			echo "$name" >>"$tmp/modules/order"
		done
}

if [ "$1" = --program ]; then
	add_program "$2"
	pack "$3"
	exit 0
fi

root=$1 version=$2 out=$3
shift 3
mkdir -p "$tmp"/{bin,dev,proc,sys,tmp,mnt,modules}
cp /bin/busybox "$tmp/bin/busybox"
install -m 755 "$here/guest/init" "$tmp/init"
: >"$tmp/modules/order"
for m in "$@"; do
	add_module "$m"
done
pack "$out"

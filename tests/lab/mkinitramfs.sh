#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# mkinitramfs.sh ROOT VERSION OUT [MODULE | +MODULE]...: an initramfs of busybox (BUSYBOX, that of this
# machine by default), the lab's init and the named modules with what they depend on. Init loads them in
# this order; those with a + only lie there for modprobe. ROOT has lib/modules/VERSION.
# mkinitramfs.sh --programs OUT FILE...: programs of the host for /bin, with their libraries, as an archive
# to append. Kernels unpack any number of archives in a row; modules built into the kernel are
# skipped.
set -eu
PATH=$PATH:/usr/sbin:/sbin
here=$(cd "$(dirname "$0")" && pwd)
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT

pack() {
	(cd "$tmp" && find . -mindepth 1 | LC_ALL=C sort | cpio -o -H newc -R 0:0 --quiet) >"$1.tmp.$$"
	mv "$1.tmp.$$" "$1"
}

add_program() {
	local lib
	install -D "$1" "$tmp/bin/$(basename "$1")"
	ldd "$1" | sed -n 's/.*=> \(\/[^ ]*\).*/\1/p; s/^[[:space:]]*\(\/[^ ]*\) (.*/\1/p' |
		while read -r lib; do
			install -D "$(readlink -f "$lib")" "$tmp$lib"
		done
}

# add_module NAME LIST: the files that LIST gets are new in it, what they need before them.
add_module() {
	local file name
	modprobe -d "$root" -S "$version" -D "$1" | sed -n 's/^insmod \([^ ]*\).*/\1/p' |
		while read -r file; do
			name=$(basename "$file")
			name=${name%.xz}
			grep -qx "$name" "$2" && continue
			echo "$name" >>"$2"
			[ -e "$modules/$name" ] && continue
			case $file in
			*.xz) xz -dc "$file" >"$modules/$name" ;;
			*) cp "$file" "$modules/$name" ;;
			esac
		done
}

if [ "$1" = --programs ]; then
	out=$2
	shift 2
	for f in "$@"; do
		add_program "$f"
	done
	pack "$out"
	exit 0
fi

root=$1 version=$2 out=$3
shift 3
modules=$tmp/lib/modules/$version
mkdir -p "$tmp"/{bin,dev,proc,sys,tmp,mnt} "$modules"
install -m 755 "${BUSYBOX:-/bin/busybox}" "$tmp/bin/busybox"
install -m 755 "$here/guest/init" "$tmp/init"
install -m 755 "$here/guest/dmesg.sh" "$tmp/bin/dmesg-clean"
: >"$modules/load"
: >"$tmp/lie"
for m in "$@"; do
	case $m in
	+*) add_module "${m#+}" "$tmp/lie" ;;
	*) add_module "$m" "$modules/load" ;;
	esac
done
rm "$tmp/lie"
if [ $# -gt 0 ]; then
	cp "$root/lib/modules/$version/modules.builtin"* "$root/lib/modules/$version/modules.order" \
		"$modules"
	depmod -b "$tmp" "$version"
	rm -f "$modules"/modules.*.bin
fi
pack "$out"

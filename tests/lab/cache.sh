# SPDX-License-Identifier: BSD-3-Clause
# Sourced by the guest-*.sh: the cache that all checkouts of the project may share (VHX_CACHE), and what
# a guest directory in it consists of. Nothing in it depends on who came last: what a checkout's own
# files go into is named for their sum.
# shellcheck shell=bash
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${VHX_CACHE:-$here/../../cache}
mkdir -p "$cache"
cache=$(cd "$cache" && pwd)

# cache_fio LINK: to an archive of this machine's fio, which many guests share; nothing where it has none.
cache_fio() {
	local fio
	[ -x /usr/bin/fio ] || return 0
	fio=fio-$(sha256sum </usr/bin/fio | cut -c 1-12).cpio
	[ -e "$cache/$fio" ] || "$here/mkinitramfs.sh" --programs "$cache/$fio" /usr/bin/fio || return
	ln -sf "../../$fio" "$1"
}

# cache_guest DIR VERSION KERNEL [MODULE]...: prints a directory below DIR with initramfs.cpio,
# fio.cpio, and links to DIR's root, build and the kernel (as NAME=FILE). MODULE as in mkinitramfs.sh.
cache_guest() {
	local dir=$1 version=$2 kernel=$3 sum guest tmp
	shift 3
	sum=$({ cat "$here/mkinitramfs.sh" "$here/guest/init" "$here/guest/dmesg.sh" && echo "$@"; } |
		sha256sum | cut -c 1-12)
	guest=$dir/guest-$sum
	if [ ! -d "$guest" ]; then
		tmp=$guest.tmp.$$
		mkdir "$tmp"
		"$here/mkinitramfs.sh" "$dir/root" "$version" "$tmp/initramfs.cpio" "$@" || return
		ln -s "../${kernel#*=}" "$tmp/${kernel%%=*}"
		ln -s ../root "$tmp"
		[ ! -d "$dir/build" ] || ln -s ../build "$tmp"
		# Somebody else may have been faster.
		mv -T "$tmp" "$guest" 2>/dev/null || rm -rf "$tmp"
	fi
	[ -n "${BUSYBOX:-}" ] || [ -e "$guest/fio.cpio" ] || cache_fio "$guest/fio.cpio" || return
	echo "$guest"
}

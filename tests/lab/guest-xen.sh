#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# guest-xen.sh: builds the lab's Xen from Debian's source package (nothing is installed): Debian's own
# configuration, and Argo, and the access controls SILO and Flask, which the command line of a boot chooses
# from. Prints a directory:
#   xen, vmlinux       the hypervisor, and Debian's kernel unpacked: emulation is slow at decompressing
#   initramfs.cpio     as for the other guests, for dom0 and domUs alike
#   dom0.cpio          what a dom0 has beside it: xl, xenstored, xenconsoled, and the domUs' kernel and initramfs
#   flask              the source of Xen's Flask policy, to build policies from
# Exit status 77 when a package is missing or can't be fetched.
# A build takes some two minutes of processor time, once: the directory is named for the version of the source
# and a sum over the configuration, the compiler and the steps below. One that this recipe made serves until
# it is deleted, whatever newer source there is. It appears complete or not at all.
set -eu
PATH=$PATH:/usr/sbin:/sbin
export LC_ALL=C
# shellcheck source=cache.sh
. "$(dirname "$0")/cache.sh"
# shellcheck source=deb.sh
. "$here/deb.sh"
series=4.17

# Debian's tools, of the hypervisor's own version; xl is linked against all of these.
tools="xen-utils-$series xenstore-utils libxenmisc$series libxencall1 libxendevicemodel1 libxenevtchn1
libxenforeignmemory1 libxengnttab1 libxenhypfs1 libxenstore4 libxentoolcore1 libxentoollog1"

# configure SOURCE CONFIG: Kconfig silently drops what it doesn't know, so each line is looked for.
configure() {
	local src=$1 line lost=0 options='UNSUPPORTED ARGO XSM XSM_FLASK XSM_FLASK_POLICY XSM_SILO'
	cp "$2" "$src/xen/.config" || return
	for line in $options; do
		echo "CONFIG_$line=y" >>"$src/xen/.config"
	done
	make -s -C "$src/xen" XEN_TARGET_ARCH=x86_64 olddefconfig || return
	for line in $options; do
		grep -qx "CONFIG_$line=y" "$src/xen/.config" && continue
		echo "guest-xen: the hypervisor does not take CONFIG_$line" >&2
		lost=1
	done
	return $lost
}

compile() {
	make -s -C "$1/xen" XEN_TARGET_ARCH=x86_64 XEN_WHOAMI=lab XEN_DOMAIN=lab XEN_BUILD_DATE='1970-01-01' \
		-j"$(nproc)"
}

# keep SOURCE DIR: what of the source stays, with both halves of Flask's policy.
keep() {
	mv "$1/xen/xen" "$2/xen" &&
		mv "$1/xen/.config" "$2/config" &&
		mv "$1/tools/flask/policy" "$2/flask" &&
		mv "$1/xen/xsm/flask/policy" "$2/flask/hypervisor"
}

recipe=$({
	declare -f configure compile keep
	gcc -dumpfullversion
} | sha256sum | cut -c 1-12)

# newest: the directory that this recipe made, if any.
newest() {
	find "$cache" -maxdepth 1 -type d -name "xen-*-$recipe" | sort -V | tail -n 1
}

# part PACKAGE=VERSION DIR: one package of Xen's, unpacked into DIR.
part() {
	local dir
	dir=$(deb_fetch "$cache" "$1" part-xen)
	[ -n "$dir" ] || { echo "guest-xen: package ${1%%=*} can't be downloaded" >&2; return 77; }
	cp -al "$dir/root/." "$2" && rm -rf "$dir"
}

fetch() {
	local tmp=$1 p
	version=$(deb_source "$cache" xen "$tmp/src") ||
		{ echo "guest-xen: the source of package xen can't be downloaded" >&2; return 77; }
	mkdir "$tmp/hypervisor" "$tmp/tools"
	part "xen-hypervisor-$series-amd64=$version" "$tmp/hypervisor" || return
	for p in $tools; do
		part "$p=$version" "$tmp/tools" || return
	done
	# The only one that isn't Xen's own.
	p=$(deb_fetch "$cache" libyajl2 part-yajl)
	[ -n "$p" ] || { echo "guest-xen: package libyajl2 can't be downloaded" >&2; return 77; }
	cp -al "$p/root/." "$tmp/tools" && rm -rf "$p"
}

make_xen() {
	local tool version tmp=$cache/xen.tmp.$$
	for tool in gcc make flex bison python3 checkpolicy m4 dpkg-source; do
		command -v $tool >/dev/null ||
			{ echo "guest-xen: $tool is missing (see setup.sh)" >&2; exit 77; }
	done
	mkdir "$tmp"
	trap 'rm -rf "$cache/xen.tmp.$$"' EXIT
	trap 'exit 143' INT TERM HUP
	exec 9>"$cache/.lock"
	flock 9
	fetch "$tmp" || exit
	flock -u 9
	# A good build is silent.
	if ! { configure "$tmp/src" "$tmp/hypervisor/boot/xen-$series-amd64.config" && compile "$tmp/src"; } \
		>"$tmp/log" 2>&1; then
		tail -n 20 "$tmp/log" >&2
		echo "guest-xen: the hypervisor does not build" >&2
		return 1
	fi
	keep "$tmp/src" "$tmp" || return
	rm -rf "$tmp/src" "$tmp/hypervisor" "$tmp/log"
	mv -T "$tmp" "$cache/xen-$version-$recipe"
}

# pack_tools TOOLS TREE: Debian's programs call each other by their places, so each keeps its own. What they
# are linked against comes from the packages where these have it, else from this machine.
pack_tools() {
	local from=$1 to=$2 bin=usr/lib/xen-$series/bin libs=usr/lib/x86_64-linux-gnu p
	mkdir -p "$to/$bin" "$to/bin" "$to/$libs" "$to/lib64" "$to/etc/xen"
	for p in xl xenstored xenconsoled xen-init-dom0 libxl-save-helper; do
		cp "$from/$bin/$p" "$to/$bin/" || return
		ln -s "/$bin/$p" "$to/bin/$p"
	done
	for p in xenstore-read xenstore-write xenstore-ls xenstore-rm; do
		cp "$from/usr/bin/$p" "$to/bin/" || return
	done
	: >"$to/etc/xen/xl.conf"
	# libgcc_s is opened by name when a thread of xl ends.
	for p in "$to/$bin"/* "$to"/bin/xenstore-*; do
		LD_LIBRARY_PATH=$from/$libs ldd "$p"
	done | sed -n 's/.*=> \(\/[^ ]*\).*/\1/p' | sort -u | cat - <(echo /lib/x86_64-linux-gnu/libgcc_s.so.1) |
		xargs cp -L -t "$to/$libs"
	cp -L /lib64/ld-linux-x86-64.so.2 "$to/lib64/"
}

pack() {
	(cd "$1" && find . -mindepth 1 | sort | cpio -o -H newc -R 0:0 --quiet) >"$2"
}

# add_parts XEN LINUX GUEST: what belongs to both a hypervisor and a kernel.
add_parts() {
	local xen=$1 guest=$3 version tree=$3/tree
	version=$(basename "$2"/root/lib/modules/*)
	python3 "$here/vmlinux.py" "$2/root/boot/vmlinuz-$version" "$guest/vmlinux" || return
	mkdir -p "$tree/domu"
	ln "$guest/vmlinux" "$guest/initramfs.cpio" "$tree/domu/"
	pack_tools "$xen/tools" "$tree" || return
	pack "$tree" "$guest/dom0.cpio"
	rm -rf "$tree"
}

# What is there needs no lock. A build has one of its own: nobody else waits for it, not even another recipe.
dir=$(newest)
if [ -z "$dir" ]; then
	exec 8>"$cache/.lock-xen-$recipe"
	flock 8
	dir=$(newest)
	[ -n "$dir" ] || make_xen || exit
	dir=$(newest)
fi
linux=$("$here/guest-qemu.sh" 6.1) || exit
linux=$(cd "$linux/.." && pwd)
version=$(basename "$linux"/root/lib/modules/*)
# The last ones are for a dom0's start; a domU has no use for them.
guest=$(cache_guest "$linux" "$version" "vmlinuz=root/boot/vmlinuz-$version" virtio_blk ext4 \
	+virtio_net +virtio_console +virtio_rng +vmw_vsock_virtio_transport \
	+xen-privcmd +xen-evtchn +xenfs +xen-gntdev +xen-gntalloc +loop)
sum=$({ cat "$0" "$here/vmlinux.py" && echo "$guest"; } | sha256sum | cut -c 1-12)
if [ ! -d "$dir/guest-$sum" ]; then
	tmp=$dir/guest-$sum.tmp.$$
	mkdir "$tmp"
	ln "$guest/initramfs.cpio" "$tmp/"
	ln -s ../xen ../flask "$tmp/"
	[ ! -e "$guest/fio.cpio" ] || cp -d "$guest/fio.cpio" "$tmp/"
	add_parts "$dir" "$linux" "$tmp" || exit
	mv -T "$tmp" "$dir/guest-$sum" 2>/dev/null || rm -rf "$tmp"
fi
echo "$dir/guest-$sum"

#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# guest-umlk.sh: builds the lab's own User-Mode Linux from Debian's linux-source-6.1 (downloaded, never
# installed): small, with KASAN, lockdep and their like, and open to modules. Prints its directory:
#   linux, initramfs.cpio, fio.cpio   for uml.sh
#   build                             the tree to build modules against, scripts/ included
# Exit status 77 when a package is missing or can't be fetched.
# It takes some nine minutes of processor time, once: the directory is named for what it is made of, the
# version of the source and a sum over umlk.config, umlk.patch, the compiler and the steps below. One that
# this recipe made serves until it is deleted, whatever newer source there is. It appears complete or not at
# all.
set -eu
PATH=$PATH:/usr/sbin:/sbin
export LC_ALL=C
# shellcheck source=cache.sh
. "$(dirname "$0")/cache.sh"
# shellcheck source=deb.sh
. "$here/deb.sh"
source_package=linux-source-6.1

# What a module build never opens: sources, objects, and headers of other machines.
unpack() {
	tar -xf "$1/root/usr/src/$source_package.tar.xz" -C "$2" --strip-components=1 --anchored \
		--exclude="$source_package/"{Documentation,samples,sound,tools/testing,tools/perf}'/*.[chSr]*' \
		--exclude="$source_package/drivers/"{gpu,media,staging,infiniband,net/ethernet,net/wireless}'/*.[ch]' \
		--exclude="$source_package/drivers/scsi/*/*.[ch]" \
		--exclude="$source_package/arch/"{arm,arm64,mips,powerpc,sparc,s390,alpha,ia64,m68k,sh,parisc}'/*.[chS]' \
		--exclude="$source_package/arch/"{arm,arm64}'/boot/dts/*' &&
		patch -s -p1 -d "$2" <"$here/umlk.patch"
}

# A line of the fragment that Kconfig does not take over would be a check that is silently off.
configure() {
	local line lost=0
	make -s -C "$1" ARCH=um KCONFIG_ALLCONFIG="$here/umlk.config" allnoconfig || return
	while read -r line; do
		grep -qx "$line" "$1/.config" && continue
		echo "guest-umlk: the kernel does not take $line" >&2
		lost=1
	done < <(grep '^CONFIG_' "$here/umlk.config")
	return $lost
}

compile() {
	KBUILD_BUILD_TIMESTAMP='1970-01-01' KBUILD_BUILD_USER=lab KBUILD_BUILD_HOST=lab \
		make -s -C "$1" ARCH=um -j"$(nproc)" linux modules
}

# keep SOURCE BUILD: moves out of the source what a module build reads.
keep() {
	local src=$1 out=$2
	mkdir -p "$out/arch/x86" "$out/tools"
	mv "$src"/{.config,Makefile,Module.symvers,include,scripts,System.map} "$out"
	mv "$src/arch/um" "$out/arch/um"
	mv "$src/arch/x86"/{Makefile*,include,um} "$out/arch/x86"
	mv "$src/tools/include" "$out/tools/include"
	find "$out" \( -name '*.o' -o -name '*.a' -o -name '.*.cmd' \) -delete
	rm -rf "$out/include/dt-bindings" "$out/include/drm"
}

recipe=$({
	cat "$here/umlk.config" "$here/umlk.patch"
	declare -f unpack configure compile keep
	gcc -dumpfullversion
} | sha256sum | cut -c 1-12)

# newest: the directory that this recipe made, if any.
newest() {
	find "$cache" -maxdepth 1 -type d -name "umlk-*-$recipe" | sort -V | tail -n 1
}

make_guest() {
	local deb tool tmp=$cache/umlk.tmp.$$
	for tool in gcc make flex bison bc patch xz; do
		command -v $tool >/dev/null ||
			{ echo "guest-umlk: $tool is missing (see setup.sh)" >&2; exit 77; }
	done
	exec 9>"$cache/.lock"
	flock 9
	deb=$(deb_fetch "$cache" "$source_package" linux-source)
	[ -z "$deb" ] || { mkdir -p "$tmp/source" && cp -al "$deb/root" "$tmp/source/" && rm -rf "$deb"; }
	flock -u 9
	[ -n "$deb" ] || { echo "guest-umlk: $source_package can't be downloaded" >&2; exit 77; }
	trap 'rm -rf "$cache/umlk.tmp.$$"' EXIT
	trap 'exit 143' INT TERM HUP
	mkdir -p "$tmp/src"
	# A good build is silent.
	if ! { unpack "$tmp/source" "$tmp/src" && configure "$tmp/src" && compile "$tmp/src"; } \
		>"$tmp/log" 2>&1; then
		tail -n 20 "$tmp/log" >&2
		echo "guest-umlk: the kernel does not build" >&2
		return 1
	fi
	mv "$tmp/src/linux" "$tmp/kernel"
	keep "$tmp/src" "$tmp/build"
	rm -rf "$tmp/src" "$tmp/source"
	mkdir -p "$tmp/root/lib/modules/none"
	: >"$tmp/root/lib/modules/none/modules.dep"
	mv -T "$tmp" "$cache/umlk-${deb##*/linux-source-}-$recipe"
}

# What is there needs no lock. A build has one of its own: nobody else waits for it, not even another recipe.
dir=$(newest)
if [ -z "$dir" ]; then
	exec 8>"$cache/.lock-umlk-$recipe"
	flock 8
	dir=$(newest)
	[ -n "$dir" ] || make_guest || exit
	dir=$(newest)
fi
cache_guest "$dir" none linux=kernel

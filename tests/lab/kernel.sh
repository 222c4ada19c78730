# SPDX-License-Identifier: BSD-3-Clause
# Sourced: the trees of kernels to build modules against, and a copy of the driver to build in. Debian's
# headers lie beside the kernel package that the guests boot, of the same version; nothing is installed.
# shellcheck shell=bash disable=SC2034
# shellcheck source=cache.sh
. "$(dirname "${BASH_SOURCE[0]}")/cache.sh"
# shellcheck source=deb.sh
. "$here/deb.sh"
root=$(cd "$here/../.." && pwd)

kernel_names='umlk 6.1 6.12 arm64 sid'

# headers_part PACKAGE VERSION DIR: one package of the headers, unpacked into DIR.
headers_part() {
	local arch=$deb_arch part
	# Programs of the build run on this machine, whatever they build for.
	case $1 in linux-kbuild-*) deb_arch='' ;; esac
	part=$(deb_fetch "$cache" "$1=$2" "part-$1")
	deb_arch=$arch
	[ -n "$part" ] || { echo "$0: package $1 $2 can't be downloaded" >&2; return 77; }
	cp -al "$part/root/." "$3" && rm -rf "$part"
}

# headers_unpack BASE VERSION: BASE/headers, of the packages that belong to the kernel in BASE/root.
headers_unpack() {
	local base=$1 version=$2 abi tmp common kbuild f
	abi=$(basename "$base"/root/lib/modules/*)
	common=${abi%-*}
	kbuild=linux-kbuild-$common
	case $common in 6.1.*) kbuild=linux-kbuild-6.1 ;; esac
	tmp=$base/headers.tmp.$$
	mkdir -p "$tmp"
	for f in "linux-headers-$abi" "linux-headers-$common-common" "$kbuild"; do
		headers_part "$f" "$version" "$tmp" || { rm -rf "$tmp"; return 77; }
	done
	# They are made to lie in /usr/src.
	for f in "$tmp/usr/src/linux-headers-$abi"/{Makefile,.kernelvariables}; do
		sed -i "s|/usr/src/|$base/headers/usr/src/|g" "$f"
	done
	ln -s "usr/src/linux-headers-$abi" "$tmp/build"
	mv -T "$tmp" "$base/headers"
}

# kernel_in_sid ROOT ARG...: make in the system of that kernel, which has the build directory where it lies here.
# shellcheck disable=SC2016 # for the shell that is started
kernel_in_sid() {
	local built=${VHX_BUILD:-$root/build}
	unshare --mount sh -ec '
		root=$0 built=$1
		shift
		mkdir -p "$root$built"
		mount --bind "$built" "$root$built"
		mount -t proc proc "$root/proc"
		exec chroot "$root" make -s "$@"' "$1" "$built" "${@:2}"
}

# kernel_open NAME: sets kernel_make, the make that builds modules for it, and kernel_tree. 77 where the
# kernel can't be fetched.
kernel_open() {
	local guest base arch=amd64 version=$1
	kernel_make=(make -s)
	case $1 in
	umlk)
		guest=$("$here/guest-umlk.sh") || return
		kernel_tree=$guest/build
		kernel_make+=(-C "$kernel_tree" ARCH=um UBSAN_SANITIZE=y)
		return
		;;
	6.1|6.12) ;;
	sid)
		guest=$("$here/guest-qemu.sh" sid) || return
		kernel_tree=$(echo "$guest"/root/lib/modules/*)
		kernel_make=(kernel_in_sid "$guest/root" -C "${kernel_tree#"$guest/root"}/build")
		return
		;;
	arm64)
		arch=arm64 version=6.1
		kernel_make+=(ARCH=arm64 CROSS_COMPILE=aarch64-linux-gnu-)
		;;
	*) echo "$0: the kernel is one of: $kernel_names" >&2; return 2 ;;
	esac
	guest=$("$here/guest-qemu.sh" "$version" $arch) || return
	base=$(cd "$guest/.." && pwd)
	[ $arch = "$(dpkg --print-architecture)" ] || deb_arch=$arch
	if [ ! -d "$base/headers" ]; then
		(flock 9 && { [ -d "$base/headers" ] || headers_unpack "$base" "${base##*/linux-"$version-$arch"-}"; }) \
			9>"$base/.lock" || return
	fi
	kernel_tree=$base/headers/build
	kernel_make+=(-C "$kernel_tree")
}

# kernel_checks: sets kernel_scripts, the scripts of Debian's linux-source-6.1: checkpatch and coccicheck's
# rules. Those of the lab's own kernel where that was built; else they are taken out of the source, which stays for who
# builds it next. 77 where it can't be fetched.
kernel_checks() {
	local deb tmp package=linux-source-6.1
	kernel_scripts=$(find "$cache" -maxdepth 3 \( -path '*/umlk-*/build/scripts' -o \
		-path '*/linux-scripts-*/scripts' \) | tail -n 1)
	[ -z "$kernel_scripts" ] || return 0
	exec 9>"$cache/.lock"
	flock 9
	deb=$(deb_fetch "$cache" $package linux-source)
	exec 9>&-
	[ -n "$deb" ] || { echo "SKIP: $package can't be downloaded" >&2; return 77; }
	tmp=$cache/linux-scripts.tmp.$$
	mkdir "$tmp"
	tar -xf "$deb/root/usr/src/$package.tar.xz" -C "$tmp" --strip-components=1 $package/scripts || return
	kernel_scripts=$cache/linux-scripts-${deb##*/linux-source-}
	mv -T "$tmp" "$kernel_scripts" 2>/dev/null || rm -rf "$tmp"
	kernel_scripts+=/scripts
}

# kernel_stage SOURCE DIR: a copy of a folder of modules, and of the wire's layouts that it reaches, in the
# places that they have in the project.
kernel_stage() {
	rm -rf "$2"
	mkdir -p "$2/include" "$2/$(dirname "$1")"
	cp -r "$root/include/uapi" "$2/include/uapi"
	cp -r "$root/$1" "$2/$1"
}

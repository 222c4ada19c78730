#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# modules.sh KERNEL [SOURCE]: builds the kernel modules of SOURCE (default drivers/linux) out of tree and
# prints the directory with the .ko files. KERNEL is umlk (the lab's own User-Mode Linux), 6.1, 6.12 or sid
# (Debian's, amd64), or arm64 (Debian's 6.1, cross-built). Objects lie below the build directory
# (VHX_BUILD), never beside the sources; they are made anew when a source or the kernel has changed.
# Exit status 77 when a package is missing or can't be fetched.
set -eu
PATH=$PATH:/usr/sbin:/sbin
export LC_ALL=C
# shellcheck source=kernel.sh
. "$(dirname "$0")/kernel.sh"
name=${1:?usage: modules.sh KERNEL [SOURCE]} source=${2:-drivers/linux}
out=${VHX_BUILD:-$root/build}/modules/$name/${source//\//-}

for tool in make gcc; do
	command -v $tool >/dev/null || { echo "modules: package $tool is missing" >&2; exit 77; }
done
if [ "$name" = arm64 ] && ! command -v aarch64-linux-gnu-gcc >/dev/null; then
	echo "modules: package gcc-aarch64-linux-gnu is missing" >&2
	exit 77
fi
kernel_open "$name" || exit

sum=$({
	echo "$kernel_tree"
	cd "$root"
	find "$source" include/uapi -type f -print0 | sort -z | xargs -0 sha256sum
} | sha256sum)
mkdir -p "$out"
exec 9>"$out/.lock"
flock 9
if [ "$(cat "$out/sum" 2>/dev/null)" != "$sum" ]; then
	rm -f "$out/sum" "$out"/*.ko
	kernel_stage "$source" "$out/src"
	if ! "${kernel_make[@]}" M="$out/src/$source" CONFIG_HMX_TEST=m -j"$(nproc)" modules \
		>"$out/log" 2>&1; then
		cat "$out/log" >&2
		echo "modules: $source does not build for $name" >&2
		exit 1
	fi
	cp "$out/src/$source"/*.ko "$out/"
	echo "$sum" >"$out/sum"
fi
echo "$out"

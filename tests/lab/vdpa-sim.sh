#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# vdpa-sim.sh: builds the kernel's own simulator of vDPA devices (vdpa_sim, its disk and its network interface, and
# vringh, which they stand on) for the guest of Debian's 6.12, and prints the directory with the .ko files. Debian's
# kernels leave it out; here it comes from Debian's source of the very version of the guest's kernel, and stays in the
# cache. Exit status 77 when a package is missing or can't be fetched.
set -eu
PATH=$PATH:/usr/sbin:/sbin
export LC_ALL=C
# shellcheck source=kernel.sh
. "$(dirname "$0")/kernel.sh"
package=linux-source-6.12
sources=(drivers/vhost/vringh.c drivers/vdpa/vdpa_sim)

for tool in make gcc xz; do
	command -v $tool >/dev/null || { echo "vdpa-sim: package ${tool/#xz/xz-utils} is missing" >&2; exit 77; }
done
kernel_open 6.12 || exit
base=${kernel_tree%/headers/build}
version=${base##*/linux-6.12-amd64-}
out=$base/vdpa-sim
exec 9>"$base/.lock"
flock 9
if [ ! -d "$out" ]; then
	source=$(deb_fetch "$cache" "$package=$version" $package)
	# Where it has not got that one, it gives another.
	[ "$source" = "$cache/$package-$version" ] || { echo "vdpa-sim: $package $version can't be downloaded" >&2; exit 77; }
	tmp=$out.tmp.$$
	mkdir -p "$tmp/src"
	tar -xf "$source/root/usr/src/$package.tar.xz" -C "$tmp/src" --strip-components=1 "${sources[@]/#/$package/}"
	find "$tmp/src/drivers" -name '*.[ch]' -exec mv -t "$tmp" {} +
	echo 'obj-m := vringh.o vdpa_sim.o vdpa_sim_blk.o vdpa_sim_net.o' >"$tmp/Kbuild"
	if ! "${kernel_make[@]}" M="$tmp" -j"$(nproc)" modules >"$tmp/log" 2>&1; then
		cat "$tmp/log" >&2
		rm -rf "$tmp"
		echo "vdpa-sim: it does not build" >&2
		exit 1
	fi
	mkdir "$tmp/made"
	mv "$tmp"/*.ko "$tmp/made/"
	mv -T "$tmp/made" "$out"
	# Of what is the largest package of all, a few files were wanted.
	rm -rf "$tmp" "$source"
fi
echo "$out"

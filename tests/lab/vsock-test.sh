#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# vsock-test.sh: builds the kernel's own vsock_test (tools/testing/vsock) from Debian's linux-source-6.1, downloaded
# and never installed, and prints the program. Cached by version and recipe. Exit status 77 when the source can't be
# fetched.
set -eu
PATH=$PATH:/usr/sbin:/sbin
export LC_ALL=C
# shellcheck source=cache.sh
. "$(dirname "$0")/cache.sh"
# shellcheck source=deb.sh
. "$here/deb.sh"
package=linux-source-6.1

build() {
	local src=$1/$package/tools/testing/vsock
	tar -xf "$2/root/usr/src/$package.tar.xz" -C "$1" --anchored "$package/tools/testing/vsock" \
		"$package/tools/include" &&
		cc -O2 -U_FORTIFY_SOURCE -D_GNU_SOURCE -Wno-pointer-sign -fno-strict-aliasing -I"$src" \
			-I"$1/$package/tools/include" -o "$1/vsock_test" "$src"/{vsock_test,timeout,control,util}.c &&
		rm -rf "${1:?}/$package"
}

recipe=$(declare -f build | sha256sum | cut -c 1-12)

# newest: the directory that this recipe made, if any.
newest() {
	find "$cache" -maxdepth 1 -type d -name "vsock-test-*-$recipe" | sort -V | tail -n 1
}

exec 9>"$cache/.lock-vsock-test"
flock 9
dir=$(newest)
if [ -z "$dir" ]; then
	command -v cc >/dev/null || { echo "vsock-test: cc is missing (see setup.sh)" >&2; exit 77; }
	deb=$(deb_fetch "$cache" "$package" vsock-source)
	[ -n "$deb" ] || { echo "vsock-test: $package can't be downloaded" >&2; exit 77; }
	tmp=$cache/vsock-test.tmp.$$
	trap 'rm -rf "$tmp" "$deb"' EXIT
	mkdir "$tmp"
	build "$tmp" "$deb" || { echo "vsock-test: it does not build" >&2; exit 1; }
	mv -T "$tmp" "$cache/vsock-test-${deb##*/vsock-source-}-$recipe"
	dir=$(newest)
fi
echo "$dir/vsock_test"

#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# installed.sh SOURCE BUILD PREFIX CC...: installs into a scratch DESTDIR and builds the examples there from
# their installed sources, with nothing but pkg-config's word; then one of them reads what the other serves.
set -eu
source=$1 build=$2 prefix=$3
shift 3
scratch=$(mktemp -d)
served=
cleanup() {
	[ -z "$served" ] || kill "$served" 2>/dev/null || :
	rm -rf "$scratch"
}
trap cleanup EXIT
if ! command -v pkg-config >/dev/null; then
	echo "SKIP: pkg-config is missing"
	exit 77
fi

root=$scratch/root
DESTDIR=$root meson install -C "$build" --no-rebuild --quiet >"$scratch/log" 2>&1 || {
	cat "$scratch/log"
	exit 1
}
pc=$(find "$root" -name libvhx.pc) argo_pc=$(find "$root" -name libvhx-argo.pc)
libs=$(dirname "$(find "$root" -name 'libvhx.so')")
[ -n "$pc" ] && [ -n "$libs" ] && [ -n "$argo_pc" ]
export PKG_CONFIG_PATH="${pc%/*}" PKG_CONFIG_SYSROOT_DIR="$root"

# Headers are the public ones, and nothing of src/ came along.
found=$(cd "$root$prefix/include" && find . -name '*.h' | sort | tr '\n' ' ')
wanted=$({ echo ./vhx/argo.h; echo ./vhx/endian.h; cd "$source/include" && find ./vhx -name '*.h'; } | sort | tr '\n' ' ')
[ "$found" = "$wanted" ] || { echo "installed headers: $found"; exit 1; }
# Each alone, in C and in C++; those of the libraries as plain C11 as well (linkage.py).
for header in $found; do
	echo "#include <$header>" >"$scratch/alone.c"
	"$@" -std=gnu11 -Wall -Werror -fsyntax-only -I"$root$prefix/include" "$scratch/alone.c"
	! command -v c++ >/dev/null ||
		c++ -std=gnu++11 -Wall -Werror -fsyntax-only -x c++ -I"$root$prefix/include" "$scratch/alone.c"
done

[ "$(pkg-config --modversion libvhx)" = "$(sed -n "s/.*version: '\(.*\)',/\1/p" "$source/meson.build" | head -n 1)" ]
for pair in blk-read:libvhx ram-disk:libvhx argo-echo:libvhx-argo; do
	name=${pair%:*}
	# shellcheck disable=SC2046 # flags are words
	"$@" -std=gnu11 -Wall -Wextra -Wno-unused-parameter -Wno-missing-field-initializers -Werror \
		"$root$prefix/share/doc/virtio-hmx/examples/$name.c" $(pkg-config --cflags --libs "${pair#*:}") \
		-o "$scratch/$name"
done

export LD_LIBRARY_PATH="$libs"
"$scratch/ram-disk" "unix:$scratch/ram.sock" &
served=$!
# The frontend waits for a backend that is not there yet.
"$scratch/blk-read" "unix:$scratch/ram.sock" 1 >"$scratch/bytes"
[ "$(head -n 1 "$scratch/bytes")" = "00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00" ]
kill "$served"
wait "$served"
served=
[ ! -e "$scratch/ram.sock" ]
# The programs run from there too, with the libraries of the system.
for name in "$root$prefix"/bin/*; do
	"$name" --version >/dev/null
done
for page in "$root$prefix"/share/man/man[1357]/*; do
	[ -s "$page" ]
done

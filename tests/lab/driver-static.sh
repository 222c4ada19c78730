#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# driver-static.sh: what can be said of the kernel modules without running them, by the kernel's own
# measures: all warnings of the compiler (W=1) and sparse (C=2, byte order included) against Debian's 6.1
# and 6.12, checkpatch --strict, and the semantic checks of scripts/coccinelle. Prints the findings; exit
# status 1 with any, 77 where something is missing. Exceptions and their reasons: driver-static.except.
set -eu
PATH=$PATH:/usr/sbin:/sbin
export LC_ALL=C
# shellcheck source=kernel.sh
. "$(dirname "$0")/kernel.sh"
for tool in make sparse spatch perl; do
	command -v $tool >/dev/null || { echo "SKIP: $tool is missing (see setup.sh)"; exit 77; }
done
source=drivers/linux
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
trap 'exit 143' INT TERM HUP
: >"$tmp/findings"

# report TOOL: the findings of standard input, without what is excepted and why.
report() {
	local line tool pattern
	while read -r line; do
		while IFS='|' read -r tool pattern _; do
			[ "$tool" = "$1" ] || continue
			[[ $line =~ $pattern ]] && continue 2
		done < <(grep -v '^#' "$here/driver-static.except")
		echo "$1: $line"
	done >>"$tmp/findings"
}

# A finding in the kernel's own headers is not ours; a build that fails is.
compile() {
	local log=$tmp/$1.log
	kernel_open "$1" || exit
	kernel_stage $source "$tmp/$1"
	"${kernel_make[@]}" M="$tmp/$1/$source" CONFIG_HMX_TEST=m W=1 C=2 CHECK="sparse -D__CHECK_ENDIAN__" \
		-j"$(nproc)" modules >"$log" 2>&1 || echo "$source does not build for $1" | report build
	sed -n "s|.*$tmp/$1/||; /\(warning\|error\):/p; /^WARNING: /p; /^ERROR: /p" "$log" |
		grep -E "^($source|include/uapi)/|^(WARNING|ERROR)" | sort -u | report "compiler $1" || true
}

style() {
	local f
	for f in "$root/$source"/*.[ch]; do
		perl "$1/scripts/checkpatch.pl" --strict --no-tree --no-summary --terse --show-types -f "$f" 2>&1 ||
			true
	done | sed "s|^$root/||" | report checkpatch
}

# Each check says in its header which options it needs. The two with OCaml inside are for another driver,
# and for comparisons of pointers with 0, which sparse finds as well.
semantics() {
	local check
	local -a options
	while read -r check; do
		read -ra options < <(sed -n 's|^// Options:||p' "$check")
		spatch -D report --no-show-diff --very-quiet --cocci-file "$check" \
			${options[@]+"${options[@]}"} "$root/$source"/*.c 2>"$tmp/spatch.log" ||
			{ cat "$tmp/spatch.log"; echo "$(basename "$check") can't run"; }
	done < <(grep -lr '^virtual report' "$1/scripts/coccinelle" | xargs grep -L 'script:ocaml' | sort) |
		sed "s|^$root/||" | grep . | report coccinelle || true
}

kernel_open umlk || exit
tree=$kernel_tree
compile 6.1
compile 6.12
style "$tree"
semantics "$tree"
cat "$tmp/findings"
echo "$(wc -l <"$tmp/findings") findings"
[ ! -s "$tmp/findings" ]

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
		perl "$kernel_scripts/checkpatch.pl" --strict --no-tree --no-summary --terse --show-types -f "$f" 2>&1 ||
			true
	done | sed "s|^$root/||" | report checkpatch
}

# semantic CHECK FILE...: one of coccicheck's rules; it says in its header which options it needs.
semantic() {
	local check=$1 log
	local -a options
	shift
	log=$(mktemp "$tmp/spatch.XXXXXX")
	read -ra options < <(sed -n 's|^// Options:||p' "$check")
	spatch -D report --no-show-diff --very-quiet --cocci-file "$check" ${options[@]+"${options[@]}"} "$@" 2>"$log" ||
		{ cat "$log"; echo "$(basename "$check") can't run"; }
}

# As many at a time as there are processors. The two with OCaml inside are for another driver, and for
# comparisons of pointers with 0, which sparse finds as well.
semantics() {
	export -f semantic
	export tmp
	# shellcheck disable=SC2016 # for the shell that is started
	grep -lr '^virtual report' "$kernel_scripts/coccinelle" | xargs grep -L 'script:ocaml' | sort |
		xargs -P "$(nproc)" -I{} bash -c 'semantic "$@" >"$(mktemp "$tmp/found.XXXXXX")"' - {} "$root/$source"/*.c
	cat "$tmp"/found.* | sed "s|^$root/||" | grep . | report coccinelle || true
}

# step NAME COMMAND...
step() {
	local name=$1 began=$SECONDS
	shift
	"$@" || return
	echo "$name: $((SECONDS - began)) s"
}

step "kernel's scripts" kernel_checks
step 6.1 compile 6.1
step 6.12 compile 6.12
step style style
step semantics semantics
cat "$tmp/findings"
echo "$(wc -l <"$tmp/findings") findings"
[ ! -s "$tmp/findings" ]

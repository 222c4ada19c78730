# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=bash
# Sourced: $tmp, a folder, and $pids, programs that were started; both go with the test. The test has fail().
guard_s=60 # against hangs, never an expectation
tmp=$(mktemp -d)
pids=()
cleanup() {
	[ ${#pids[@]} -eq 0 ] || kill "${pids[@]}" 2>/dev/null
	wait
	rm -rf "$tmp"
}
trap cleanup EXIT

# until_true COMMAND...
until_true() {
	local end=$((SECONDS + guard_s))
	until "$@"; do
		[ $SECONDS -lt $end ] || fail "never: $*"
		sleep 0.1
	done
}

#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Argo's operations as Xen really has them, from dom0, PV and PVH domUs: turned off, with wildcard rings allowed, and
# without, under SILO, which keeps domUs apart. Each is a boot.
# shellcheck source=../lab/lib.sh
. "$(dirname "$0")/../lab/lib.sh"
need_xen
made "the lab's module" env VHX_BUILD="$vhx_build" "$vhx_lab/modules.sh" 6.1 tests/lab/argo_raw

# run MODE ARGO XSM CASES: one boot, and how many cases dom0 alone has there at least.
run() {
	echo "$1" >"$tmp/mode"
	echo "$3" >"$tmp/xsm"
	boot xen --argo "$2" --xsm "$3" --modules "$made" \
		--program "$vhx_build/tests/lab/argo-abi" --add "$tmp/mode" --add "$tmp/xsm" \
		--script "$vhx_lab/guest/xen-cases.sh"
	guest_ok
	cases=$(sed -n 's/^ARGO-ABI \([0-9]*\) cases.*/\1/p' "$tmp/guest.log" | head -n 1)
	[ "${cases:-0}" -ge "$4" ] || fail "$1: only ${cases:-0} cases"
	sed 's/\r//g' "$tmp/guest.log" | grep -E '^(== |ARGO-ABI)'
}

run off 0 xsm=dummy 1
run permissive 1,mac-permissive=1 xsm=dummy 30
run strict 1,mac-permissive=0 xsm=silo 30

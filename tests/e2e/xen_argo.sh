#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# hmx_argo on Xen: its device, the conformance suite of the exchange between programs and kernels of one domain and of
# two, and disks of PV and PVH domUs: their cost in hypercalls, a killed backend, a driver that is reloaded.
# VHX_TORTURE: the suite for all pairs.
# shellcheck source=../lab/lib.sh
. "$(dirname "$0")/../lab/lib.sh"
suite=$vhx_build/tests/conformance/test_exchange agent=$vhx_build/tests/conformance/argo-agent
[ -x "$suite" ] || skip "package libcmocka-dev is missing ($suite was not built)"
need_programs
need_xen
echo "$((${VHX_TORTURE:-0} ? 1 : 0))" >"$tmp/torture"
boot xen --modules "$driver_modules" --program "$vhx_backend" --program "$vhxctl" --program "$suite" --program "$agent" \
	--program "$vhx_build/tests/lab/argo-dev" --program "$vhx_build/tests/lab/disk-batch" \
	--add "$tmp/torture" --add "$vhx_lab/guest/xen-vhx.sh" --script "$vhx_lab/guest/xen-argo.sh"
guest_ok
guest_said '^XEN-ARGO-DONE' || fail "the script did not come to its end"
sed 's/\r//g' "$tmp/guest.log" | grep -E '^(not )?ok argo-dev|^(EXCHANGE|COST|DISK) '

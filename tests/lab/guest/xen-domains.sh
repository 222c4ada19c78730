# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=dash
# dom0: a PV and a PVH domU boot, answer, reboot and end.
# shellcheck source=xen.sh
. /xen.sh
xen_start
for type in pv pvh; do
	domu_create "$type" "$type"
	domu_do "$type" 'cat /sys/hypervisor/type' | tr -d '\r' >/tmp/answer || fail "command in $type"
	[ "$(cat /tmp/answer)" = xen ] || fail "$type says: $(cat /tmp/answer)"
	domu_do "$type" 'exit 3' && fail "a failure in $type is none here"
done
first=$(domu_id pv)
domu_reboot pv
[ "$(domu_id pv)" -gt "$(domu_id pvh)" ] || fail "pv has domid $(domu_id pv), had $first"
domu_do pv 'true' || fail "command after the reboot"
domu_destroy pv
domu_destroy pvh
xl list | tail -n +2

# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=dash
# dom0, PV and PVH: what the hypervisor answers to Argo's operations, see tests/conformance/argo_cases.c. The
# cases run alone in each domain, then in pairs, then with a partner that has ended.
# shellcheck source=xen.sh
. /xen.sh
mode=$(cat /mode)
xen_start
insmod /driver/argo_raw.ko || fail "insmod argo_raw"
mkdir -p /domu
echo argo_raw >/domu/order
faults=0

# cases WHERE SELF PEER OFFER...: in dom0 or the domU of that name.
cases() {
	where=$1
	shift
	echo "== $where: $*"
	if [ "$where" = dom0 ]; then
		argo-abi "$@"
	else
		domu_do "$where" "argo-abi $*"
	fi || faults=$((faults + 1))
}

# agent NAME SELF PEER: starts it, for the next cases.
agent() {
	domu_start "$1" "argo-abi agent $2 $3"
	agent_name=$1 agent_call=$call
}

agent_end() {
	domu_wait "$agent_name" "$agent_call" || fail "the agent in $agent_name"
}

if [ "$mode" = off ]; then
	cases dom0 0 0 off
	[ $faults -eq 0 ] || fail "it answers"
	exit 0
fi
cases dom0 0 0 on "$mode"
for type in pv pvh; do
	domu_create "$type" "$type"
	domu_do "$type" 'modprobe xen-evtchn' || fail "modprobe xen-evtchn in $type"
done
pv=$(domu_id pv) pvh=$(domu_id pvh)
cases pv "$pv" "$pv" on "$mode"
cases pvh "$pvh" "$pvh" on "$mode"
agent pvh "$pvh" 0
cases dom0 0 "$pvh" on "$mode" pair allowed
agent_end
if grep -q 'xsm=silo' /xsm; then
	cases pv "$pv" "$pvh" on pair refused
	cases pvh "$pvh" "$pv" on pair refused
else
	agent pvh "$pvh" "$pv"
	cases pv "$pv" "$pvh" on "$mode" pair allowed
	agent_end
fi
domu_destroy pvh
cases pv "$pv" "$pvh" on lone
cases pv "$pv" "$pv" on spoil
domu_do pv dmesg-clean || fail "the kernel of pv complains"
domu_destroy pv
[ $faults -eq 0 ] || fail "$faults runs had faults"

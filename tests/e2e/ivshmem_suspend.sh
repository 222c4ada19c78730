#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# The guest sleeps under load, as far as its devices go (pm_test), with the backend there all the time
# and with one that was replaced meanwhile; and once for good, until the host wakes it.
# shellcheck source=ivshmem.sh
. "$(dirname "$0")/ivshmem.sh"
need python3 python3
make_image "$tmp/disk.img" 32M
cat >"$tmp/run" <<'GUEST'
set -e
head -c 4194304 /dev/urandom >/tmp/data
dd if=/tmp/data of=/dev/vda bs=1M conv=fsync 2>/dev/null
(while [ ! -e /tmp/stop ] && dd if=/dev/vda of=/dev/null bs=64k iflag=direct 2>/dev/null; do :; done
 [ -e /tmp/stop ] || echo LOAD-FAILED) &
check() {
	dd if=/dev/vda bs=1M count=4 iflag=direct 2>/dev/null | cmp - /tmp/data
}
echo 1 >/sys/module/suspend/parameters/pm_test_delay
for level in freezer devices platform; do
	echo $level >/sys/power/pm_test
	echo mem >/sys/power/state
	check
	echo "SLEPT $level"
done
echo none >/sys/power/pm_test
echo SLEEPING
echo mem >/sys/power/state
check
touch /tmp/stop
wait
echo AWAKE
GUEST
ivshmem_boot "$tmp/run" --monitor "$tmp/qmp.sock"
wait_guest '^SLEPT platform'
wait_guest '^SLEEPING'
asleep() { [ "$(qmp query-status | python3 -c 'import json, sys; print(json.load(sys.stdin)["status"])')" = suspended ]; }
wait_for "the guest to sleep" "$vhx_guest_patience" asleep
stop backend
start_backend
qmp system_wakeup >/dev/null
# QEMU 7.2 does not see the power go off that was asleep before, and would stay.
wait_guest '^GUEST-EXIT'
qmp quit >/dev/null
ivshmem_end
guest_said '^AWAKE' || fail "the guest did not wake up"
! guest_said LOAD-FAILED || fail "a request failed"

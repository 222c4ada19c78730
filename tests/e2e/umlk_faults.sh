#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Faults that a reading of the guest's driver found, one scenario each (tests/lab/hmx-faults.c): lost requests of
# every type, devices that go and come back at once, chains that are too long, a backend that asks for too much or has
# devices without end, freeze and unbind without anybody to answer, freeze and removal while a driver waits in its probe,
# queue reset with requests in flight, half a group of completions, a ring that its driver breaks, commands that no other
# backend was told of, and those that kill, losses over death, sleep and rebind, a write of the config that its driver left
# behind, no memory for a device, devices that come and go without end.
# shellcheck source=../lab/lib.sh
. "$(dirname "$0")/../lab/lib.sh"
faults=$vhx_build/tests/lab/hmx-faults
[ -x "$faults" ] || fail "$faults was not built"
kernel=${VHX_KERNEL:-umlk}
need_kernel "$kernel"
made "the probing driver" env VHX_BUILD="$vhx_build" "$vhx_lab/modules.sh" "$kernel" tests/lab/probe
cat >"$tmp/run.sh" <<GUEST
mount -t debugfs debugfs /sys/kernel/debug
insmod /hmx_probe.ko || exit 1
hmx-faults ${VHX_SCENARIO:-} || exit 2
# Whoever holds a device keeps the module that frees it.
rmmod hmx_test hmx_window || exit 3
rmmod virtio_hmx &
unload=\$!
sleep 0.3
grep -q '^virtio_hmx' /proc/modules || exit 4
echo 1 >/sys/kernel/debug/hmx_probe/release
wait \$unload || exit 5
rmmod hmx_probe || exit 6
GUEST
# Allocations of a device's size are those that can be made to fail.
boot_driver --append slub_debug=A,kmalloc-8k --mem 384M --script "$tmp/run.sh" --program "$faults" --add "$made/hmx_probe.ko" \
	--load virtio_hmx --load hmx_window --load hmx_test
guest_ok
guest_said '^hmx-faults: sound' || fail "the run did not come to its end"
sed -n 's/\r//g; s/^hmx-faults: \(.*\): ok/\1/p' "$tmp/guest.log"

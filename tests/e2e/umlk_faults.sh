#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Faults that a reading of the guest's driver found, one scenario each (tests/lab/hmx-faults.c): lost requests of
# every type, devices that go and come back at once, chains that are too long, a backend that asks for too much,
# freeze and unbind without anybody to answer, queue reset with requests in flight, half a group of completions.
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
rmmod hmx_probe hmx_test hmx_window virtio_hmx || exit 3
GUEST
boot_driver --mem 384M --script "$tmp/run.sh" --program "$faults" --add "$made/hmx_probe.ko" \
	--load virtio_hmx --load hmx_window --load hmx_test
guest_ok
guest_said '^hmx-faults: sound' || fail "the run did not come to its end"
sed -n 's/\r//g; s/^hmx-faults: \(.*\): ok/\1/p' "$tmp/guest.log"

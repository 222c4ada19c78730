#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# A network whose rings change their size. Then disk, network and console of a guest that sleeps under load, as far as
# its devices go (pm_test), with the backend there all the time and with one that was replaced meanwhile; and once for
# good, until the host wakes it. Then the commands that virtio_net spins for: they end with no backend, and with one that
# does not answer.
# shellcheck source=ivshmem.sh
. "$(dirname "$0")/ivshmem.sh"
need python3 python3
need ethtool ethtool
in_netns "$@"
make_image "$tmp/disk.img" 32M
ip tuntap add vm0 mode tap || fail "no tap can be made"
ip addr add 10.9.0.1/24 dev vm0
ip link set vm0 up
ivshmem_devices=(--device "blk,id=disk0,file=$tmp/disk.img" --device "net,id=n0,end=tap:vm0"
	--device "console,id=con,port0=file:$tmp/con.out")
cat >"$tmp/run" <<'GUEST'
set -e
hmx=/sys/kernel/debug/virtio_hmx/hmx0
modprobe virtio_net
modprobe virtio_console
ip addr add 10.9.0.2/24 dev eth0
ip link set eth0 up
answers() {
	until ping -c 1 -W 1 10.9.0.1 >/dev/null; do :; done
}
answers
# Rings of another size: each queue is reset while the interface is up (since Linux 6.1).
for size in 64 128 256; do
	ethtool -G eth0 rx $size tx $size
	grep -q "^queue0_size $size$" $hmx/devices/n0
	grep -q "^queue1_size $size$" $hmx/devices/n0
	answers
done
echo RESIZED
echo "FROM-THE-GUEST" >/dev/hvc0
seq 1 10000000 | head -c 2097152 >/tmp/data
dd if=/tmp/data of=/dev/vda bs=1M conv=fsync 2>/dev/null
(while [ ! -e /tmp/stop ] && dd if=/dev/vda of=/dev/null bs=64k iflag=direct 2>/dev/null; do :; done
 [ -e /tmp/stop ] || echo LOAD-FAILED) &
disk=$!
(while [ ! -e /tmp/stop ]; do nc 10.9.0.1 5000 </tmp/data >/dev/null || echo NET-FAILED; done) &
net=$!
check() {
	dd if=/dev/vda bs=1M count=2 iflag=direct 2>/dev/null | cmp - /tmp/data
	answers
	echo "AFTER-$1" >/dev/hvc0
}
echo 1 >/sys/module/suspend/parameters/pm_test_delay
for level in freezer devices platform; do
	echo $level >/sys/power/pm_test
	echo mem >/sys/power/state
	check $level
	echo "SLEPT $level"
done
echo none >/sys/power/pm_test
echo SLEEPING
echo mem >/sys/power/state
check sleep
touch /tmp/stop
wait $disk $net
echo AWAKE
# state WANTED...: waits for one of them.
state() {
	until grep -Eq "^state ($1)$" $hmx/channel; do sleep 0.1; done
}
state 'waiting|opening|hello'
ip link set eth0 promisc on
echo COMMANDED-NOBODY
state up
answers
echo STOP-IT
read -r go
ip link set eth0 promisc off
echo COMMANDED-STOPPED
read -r go
answers
dmesg | grep 'promisc mode'
dmesg | grep -q 'Failed to enable promisc mode'
dmesg | grep -q 'Failed to disable promisc mode'
echo COMMANDED
GUEST
start receiver python3 "$vhx_root/tests/e2e/tcp.py" serve 10.9.0.1 5000
ivshmem_boot "$tmp/run" --program "$(command -v ethtool)" --smp 2 --monitor "$tmp/qmp.sock"
wait_guest '^SLEPT platform'
wait_guest '^SLEEPING'
asleep() { [ "$(qmp query-status | python3 -c 'import json, sys; print(json.load(sys.stdin)["status"])')" = suspended ]; }
wait_for "the guest to sleep" "$vhx_guest_patience" asleep
stop backend
ivshmem_serve
qmp system_wakeup >/dev/null
wait_guest '^AWAKE'
stop backend
wait_guest '^COMMANDED-NOBODY'
ivshmem_serve
wait_guest '^STOP-IT'
kill -STOP "${daemon_pid[backend]}"
say go
wait_guest '^COMMANDED-STOPPED'
kill -CONT "${daemon_pid[backend]}"
say go
# QEMU 7.2 does not see the power go off that was asleep before, and would stay.
wait_guest '^GUEST-EXIT'
qmp quit >/dev/null
ivshmem_end
crash receiver
guest_said '^COMMANDED$' || fail "the guest did not come to its end"
! guest_said LOAD-FAILED || fail "a request failed"
! guest_said NET-FAILED || fail "a connection failed"
for word in FROM-THE-GUEST AFTER-freezer AFTER-devices AFTER-platform AFTER-sleep; do
	grep -aq "$word" "$tmp/con.out" || fail "$word is not on the console"
done
assert_eq "sums of what came over the network" "$(sort -u "$tmp/receiver.log")" \
	"$(seq 1 10000000 | head -c 2097152 | sha256sum | cut -d' ' -f1)"
echo "$(wc -l <"$tmp/receiver.log") times 2 MiB over the network, four sleeps"

#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# A port of Open vSwitch, which DPDK's vhost serves in it, and which connects to the backend, for a guest that neither
# can read: two pairs of queues, of which the guest's driver takes one or both, pings without loss and iperf3 both ways;
# and again when the switch was killed and started anew.
# shellcheck source=../lab/lib.sh
. "$(dirname "$0")/../lab/lib.sh"
need_programs
ovs=/usr/lib/openvswitch-switch-dpdk/ovs-vswitchd-dpdk
need_file $ovs openvswitch-switch-dpdk
# shellcheck source=traffic.sh
. "$(dirname "$0")/traffic.sh"
need ethtool ethtool
[ "$(id -u)" -eq 0 ] || skip "only root can run a switch with a port of its own"
need_kernel 6.1
in_netns "$@"
seconds=1
[ -z "${VHX_TORTURE:-}" ] || seconds=60

export OVS_RUNDIR=$tmp OVS_LOGDIR=$tmp
vsctl() {
	ovs-vsctl --no-wait --db="unix:$tmp/db.sock" "$@" || fail "ovs-vsctl $*"
}

# Without hardware and without huge pages. Between packets it sleeps, since the guest's processors are this machine's too.
ovsdb-tool create "$tmp/conf.db" /usr/share/openvswitch/vswitch.ovsschema || fail "no database for the switch"
start ovsdb ovsdb-server "$tmp/conf.db" --remote="punix:$tmp/db.sock" --unixctl="$tmp/db.ctl"
wait_listening ovsdb "$tmp/db.sock"
vsctl init -- set Open_vSwitch . other_config:dpdk-init=true other_config:pmd-maxsleep=50 other_config:per-port-memory=true \
	other_config:dpdk-extra="--no-huge --legacy-mem --no-pci --no-telemetry -m 256 --iova-mode=va"
vsctl add-br br0 -- set bridge br0 datapath_type=netdev -- add-port br0 vm0 -- \
	set Interface vm0 type=dpdkvhostuserclient options:vhost-server-path="$tmp/vm0.sock"

switch() {
	start switch $ovs "unix:$tmp/db.sock" --unixctl="$tmp/vs.ctl"
	wait_for "the switch's own port" "$vhx_patience" ip link set br0 up
	ip addr replace 10.9.0.1/24 dev br0
}

cat >"$tmp/run.sh" <<'GUEST'
mount -t debugfs debug /sys/kernel/debug
modprobe virtio_net || exit 1
until [ -e /sys/class/net/eth0 ]; do sleep 0.1; done
ip addr add 10.9.0.2/24 dev eth0
ip link set eth0 up
answers() {
	until ping -c 1 -W 1 10.9.0.1 >/dev/null; do :; done
}
ethtool -L eth0 combined 1 || exit 1
answers
ethtool -L eth0 combined 2 || exit 1
ethtool -L eth0 combined 3 2>/dev/null && exit 1
answers
iperf3 -s -D -p 5201
echo "QUEUES $(ls /sys/class/net/eth0/queues | tr '\n' ' ')"
while [ "$(cat /sys/class/net/eth0/carrier)" = 1 ]; do sleep 0.1; done
echo LINK-DOWN
answers
echo LINK-UP
read -r word
ethtool -S eth0
exit 0
GUEST

all() {
	flood 500
	load 10000 -P 4 -t "$seconds"
	load 10000 -P 4 -t "$seconds" -R
}

switch
start_backend --device "vhost-user,type=net,id=n0,socket=$tmp/vm0.sock,server,mac=52:54:00:12:34:56,queues=2"
start_ivshmem
boot_driver --private --smp 2 --ivshmem "$tmp/iv.sock" --script "$tmp/run.sh" \
	--program "$(command -v iperf3)" --program "$(command -v ethtool)" \
	--load virtio_hmx --load hmx_window --load hmx_ivshmem
wait_guest '^QUEUES'
guest_said '^QUEUES rx-0 rx-1 tx-0 tx-1 ' || fail "the guest does not use two pairs of queues"
all
crash switch
wait_guest '^LINK-DOWN'
switch
wait_guest '^LINK-UP'
all
say end
guest_ok
used=$(sed -n 's/\r//g; s/^ *\(tx_queue_[01]_packets\): [1-9][0-9]*$/\1/p' "$tmp/guest.log" | wc -l)
assert_eq "transmit queues with packets" "$used" 2
stop ivshmem
stop backend
assert_no_log backend 'Sanitizer|runtime error|Assertion|broke'
echo "two pairs of queues by Open vSwitch, before and after its end"

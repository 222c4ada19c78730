#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# A network of a vhost-user back-end behind the exchange: the back-end is this project's own frontend, with a tap behind
# it. Pings without loss, iperf3 both ways with segments of 64 KiB in merged buffers; and again after the back-end was
# killed, with the link down meanwhile.
# shellcheck source=bridge.sh
. "$(dirname "$0")/bridge.sh"
need_programs
need_uml
# shellcheck source=traffic.sh
. "$(dirname "$0")/traffic.sh"
in_netns "$@"

ip tuntap add vm0 mode tap || fail "no tap can be made"
ip addr add 10.9.0.1/24 dev vm0
ip link set vm0 up

far() {
	start far "$vhx_frontend" --connect "unix:$tmp/store.sock" --vhost-user "$tmp/far.sock,id=n0"
	wait_listening far "$tmp/far.sock"
}

cat >"$tmp/run.sh" <<'GUEST'
modprobe virtio_net || exit 1
ip addr add 10.9.0.2/24 dev eth0
ip link set eth0 up
echo "MAC $(cat /sys/class/net/eth0/address) MTU $(cat /sys/class/net/eth0/mtu)"
ping -c 3 10.9.0.1 >/dev/null && echo PING-OK
iperf3 -s -D -p 5201
while [ "$(cat /sys/class/net/eth0/carrier)" = 1 ]; do sleep 0.1; done
echo LINK-DOWN
while [ "$(cat /sys/class/net/eth0/carrier)" = 0 ]; do sleep 0.1; done
echo LINK-UP
read -r word
exit 0
GUEST

start store "$vhx_backend" --listen "unix:$tmp/store.sock" --device "net,id=n0,end=tap:vm0"
wait_listening store "$tmp/store.sock"
far
start_backend --device "vhost-user,type=net,id=n0,socket=$tmp/far.sock,mac=52:54:00:12:34:56,mtu=1400"
start_frontend --vhost-user "$tmp/vm.sock,id=n0"
boot uml --device "net:$tmp/vm.sock" --script "$tmp/run.sh" --program "$(command -v iperf3)"
wait_guest '^PING-OK'
assert_match "address and MTU" "$(sed 's/\r//g' "$tmp/guest.log")" '^MAC 52:54:00:12:34:56 MTU 1400$'
flood 1000
flood 1000 -s 1300
load 1000000 -t 1
load 1000000 -t 1 -R
crash far
wait_guest '^LINK-DOWN'
far
wait_guest '^LINK-UP'
wait_for "the guest behind another back-end" "$vhx_patience" ping -q -c 1 -W 1 10.9.0.2
flood 1000
load 1000000 -t 1
say end
guest_ok
stop frontend
stop backend
stop far
stop store
echo "pings without loss and iperf3 both ways, before and after another back-end"

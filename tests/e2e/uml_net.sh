#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# A network interface under User-Mode Linux, its other end a tap in a namespace of the test's own: a flood of pings
# with no loss, iperf3 both ways with the guest's offloads on and off, a file each way, and all of it again after
# the backend was killed. VHX_TORTURE: 4 GiB each way.
# shellcheck disable=SC2016 # what the guest's shell expands
# shellcheck source=../lab/lib.sh
. "$(dirname "$0")/../lab/lib.sh"
need_programs
need_uml
# shellcheck source=traffic.sh
. "$(dirname "$0")/traffic.sh"
# shellcheck source=commands.sh
. "$(dirname "$0")/commands.sh"
need ethtool ethtool
need socat socat
in_netns "$@"

size=$((16 << 20)) pings=1000 seconds=1
[ -z "${VHX_TORTURE:-}" ] || size=$((4 << 30)) pings=100000 seconds=20

ip tuntap add vm0 mode tap || fail "no tap can be made"
ip addr add 10.9.0.1/24 dev vm0
ip link set vm0 up

serve_net() {
	start_backend --device "net,id=n0,end=tap:vm0,mac=52:54:00:12:34:56,mtu=1400"
}

# pattern: the same bytes for whoever wants to compare, by chunks that are made once; here and in the guest.
chunk=$((16 << 20))
seq 1 1000000000 | head -c $chunk >"$tmp/chunk"
pattern() {
	local i
	for ((i = 0; i < size / chunk; i++)); do
		cat "$tmp/chunk"
	done
}

cat >"$tmp/run.sh" <<'GUEST'
modprobe virtio_net || exit 1
ip link set lo up
ip addr add 10.9.0.2/24 dev eth0
ip link set eth0 up
echo "MAC $(cat /sys/class/net/eth0/address) MTU $(cat /sys/class/net/eth0/mtu)"
ethtool -k eth0 | sed -n 's/^\(tx-checksumming\|tcp-segmentation-offload\|generic-receive-offload\|rx-checksumming\): /FEATURE \1 /p'
ping -c 3 10.9.0.1 >/dev/null && echo PING-OK
iperf3 -s -D -p 5201
seq 1 1000000000 | head -c 16777216 >/tmp/chunk
GUEST
guest_obeys >>"$tmp/run.sh"

# A file each way over TCP, compared by its sum.
transfer() {
	local sum pid
	sum=$(pattern | sha256sum | cut -d' ' -f1)
	timeout "$vhx_guest_patience" python3 "$vhx_root/tests/e2e/tcp.py" receive 10.9.0.1 5000 >"$tmp/got" &
	pid=$!
	guest "for i in \$(seq $((size / chunk))); do cat /tmp/chunk; done | socat -u -b 65536 - TCP:10.9.0.1:5000,retry=600,interval=0.1"
	wait $pid
	assert_eq "sum of what the guest sent" "$(cat "$tmp/got")" "$sum"
	say "socat -u -b 65536 TCP-LISTEN:5001 - | sha256sum | sed s/^/SUM$asked-/"
	pattern | timeout "$vhx_guest_patience" python3 "$vhx_root/tests/e2e/tcp.py" send 10.9.0.2 5001 >/dev/null ||
		fail "nothing can be sent to the guest"
	wait_guest "^SUM$asked-$sum"
	echo "$((size >> 20)) MiB each way, sums equal"
}

# What is not for the guest's address does not reach it: by its commands, which no driver repeats.
ip neigh add 10.9.0.77 lladdr 52:54:00:aa:bb:cc dev vm0
strangers=50
filtered() {
	local before after
	guest 'echo RX$(cat /sys/class/net/eth0/statistics/rx_packets)'
	before=$(sed 's/\r//g' "$tmp/guest.log" | sed -n 's/^RX//p' | tail -n 1)
	ping -q -c $strangers -i 0.002 -w 1 10.9.0.77 >/dev/null
	guest "ping -c 1 10.9.0.1 >/dev/null && echo RX\$(cat /sys/class/net/eth0/statistics/rx_packets)"
	after=$(sed 's/\r//g' "$tmp/guest.log" | sed -n 's/^RX//p' | tail -n 1)
	[ $((after - before)) -lt $strangers ] || fail "$1: the guest gets packets for another address"
}

serve_net
start_frontend --vhost-user "$tmp/vm.sock,id=n0"
boot uml --device "net:$tmp/vm.sock" --script "$tmp/run.sh" --program "$(command -v iperf3)" --program "$(command -v socat)" \
	--program "$(PATH=$PATH:/sbin command -v ethtool)"
wait_guest '^PING-OK'
assert_match "address and MTU" "$(sed 's/\r//g' "$tmp/guest.log")" '^MAC 52:54:00:12:34:56 MTU 1400$'
guest_said '^FEATURE tx-checksumming on' || fail "the guest may not leave out checksums"
guest_said '^FEATURE tcp-segmentation-offload on' || fail "the guest may not send unsegmented"
flood "$pings"
flood "$pings" -s 1300
load 1000000 -t "$seconds"
load 1000000 -t "$seconds" -R
transfer
guest ethtool -K eth0 tso off tx off gro off
load 1000000 -t "$seconds"
load 1000000 -t "$seconds" -R
transfer
guest ethtool -K eth0 tso on tx on gro on
guest ip link set eth0 address 52:54:00:12:34:99
ip neigh flush dev vm0 nud reachable nud stale
filtered "before"
crash backend
serve_net
wait_for "the guest behind another backend" "$vhx_patience" ping -q -c 1 -W 1 10.9.0.2
filtered "behind another backend"
guest grep -q 52:54:00:12:34:99 /sys/class/net/eth0/address
flood "$pings"
load 1000000 -t "$seconds"
transfer
say end
guest_ok
stop backend
echo "pings without loss, iperf3 and files both ways, before and after another backend"

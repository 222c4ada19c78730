#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# A network interface behind QEMU's vhost-user-net, with two queue pairs on a tap of two queues, for a guest of two
# processors: a flood of pings with no loss, iperf3 with a stream per processor both ways, a file each way compared by
# its sum, and all of it again after the backend was killed.
# shellcheck source=../lab/lib.sh
. "$(dirname "$0")/../lab/lib.sh"
need_programs
need_qemu 6.1
# shellcheck source=traffic.sh
. "$(dirname "$0")/traffic.sh"
need ethtool ethtool
in_netns "$@"

size=$((8 << 20)) pings=500 seconds=1
[ -z "${VHX_TORTURE:-}" ] || size=$((1 << 30)) pings=50000 seconds=20

ip tuntap add vm0 mode tap multi_queue || fail "no tap can be made"
ip addr add 10.9.0.1/24 dev vm0
ip link set vm0 up

serve_net() {
	start_backend --device "net,id=n0,end=tap:vm0,queues=2"
}

cat >"$tmp/run.sh" <<'GUEST'
modprobe virtio_net || exit 1
ip addr add 10.9.0.2/24 dev eth0
ip link set eth0 up
ethtool -L eth0 combined 2 || exit 1
echo "QUEUES $(ls /sys/class/net/eth0/queues | tr '\n' ' ')"
ping -c 3 10.9.0.1 >/dev/null && echo PING-OK
iperf3 -s -D -p 5201
# One line of the host: how much to send, which way, and a number.
while read -r what bytes n; do
	case $what in
	send) until seq 1 1000000000 | head -c "$bytes" | nc 10.9.0.1 5000; do sleep 0.1; done ;;
	take) echo "SUM$n $(nc -l -p 5001 | sha256sum | cut -d' ' -f1)" ;;
	end) break ;;
	esac
done
ethtool -S eth0
exit 0
GUEST

asked=0
transfer() {
	local sum pid
	asked=$((asked + 1))
	sum=$(seq 1 1000000000 | head -c "$size" | sha256sum | cut -d' ' -f1)
	timeout "$vhx_guest_patience" python3 "$vhx_root/tests/e2e/tcp.py" receive 10.9.0.1 5000 >"$tmp/got" &
	pid=$!
	say "send $size"
	wait $pid
	assert_eq "sum of what the guest sent" "$(cat "$tmp/got")" "$sum"
	say "take 0 $asked"
	seq 1 1000000000 | head -c "$size" |
		timeout "$vhx_guest_patience" python3 "$vhx_root/tests/e2e/tcp.py" send 10.9.0.2 5001 >/dev/null ||
		fail "nothing can be sent to the guest"
	wait_guest "^SUM$asked $sum"
}

all() {
	flood "$pings"
	load 100000 -P 2 -t "$seconds"
	load 100000 -P 2 -t "$seconds" -R
	transfer
}

serve_net
start_frontend --vhost-user "$tmp/vm.sock,id=n0"
# With MSI-X and without KVM QEMU 7.2 itself ends in vhost_net_start() (a SIGSEGV), whatever serves the socket.
boot qemu --smp 2 --device-option vectors=0 --queues 2 --device "net:$tmp/vm.sock" --script "$tmp/run.sh" \
	--program "$(command -v iperf3)" --program "$(command -v ethtool)"
wait_guest '^PING-OK'
guest_said '^QUEUES rx-0 rx-1 tx-0 tx-1 ' || fail "the guest does not use two queue pairs"
all
crash backend
serve_net
wait_for "the guest behind another backend" "$vhx_patience" ping -q -c 1 -W 1 10.9.0.2
all
say end
guest_ok
used=$(sed -n 's/\r//g; s/^ *\([rt]x_queue_[01]_packets\): [1-9][0-9]*$/\1/p' "$tmp/guest.log" | sort -u | wc -l)
assert_eq "queues with packets" "$used" 4
stop backend

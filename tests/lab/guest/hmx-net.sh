# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=dash disable=SC2034
# Guest: sourced behind hmx.sh. A network interface of the driver, eth0; its other end is a tap in a network
# namespace of its own, where the backend runs, so that every frame between the two goes through the driver. And
# sockets without addresses.

# net_begin: the namespace, and the tap vm0 in it; backends are started there from now on.
net_begin() {
	ip link set lo up
	unshare -n sleep 100000 &
	ns=$!
	wait_for "a namespace" net_apart
	backend_run="nsenter -t $ns -n"
	host tunctl -t vm0 >/dev/null || fail "no tap"
	host ip addr add 10.9.0.1/24 dev vm0
	host ip link set vm0 up
	# A listener whose standard input ends hangs up.
	mkfifo /tmp/quiet
	exec 7<>/tmp/quiet
	head -c 2097152 /dev/urandom >/tmp/net.bytes
}

net_apart() {
	[ "$(readlink "/proc/$ns/ns/net")" != "$(readlink /proc/self/ns/net)" ]
}

host() {
	nsenter -t "$ns" -n "$@"
}

net_up() {
	wait_for eth0 [ -e /sys/class/net/eth0 ]
	ip addr add 10.9.0.2/24 dev eth0
	ip link set eth0 up
	wait_for "an answer to a ping" ping -c 1 -W 1 10.9.0.1
}

# net_carry FROM TO ADDRESS: bytes over TCP, where FROM and TO are commands that run another one: env, or host.
net_carry() {
	"$2" nc -l -p 5000 <&7 >/tmp/net.got &
	listener=$!
	until "$1" nc "$3" 5000 </tmp/net.bytes >/dev/null; do
		sleep 0.1
	done
	wait $listener
	cmp /tmp/net.bytes /tmp/net.got || fail "other bytes came from $3"
}

net_pings() {
	ping -A -c 100 -s 1300 10.9.0.1 >/tmp/pings || fail "pings: $(tail -n 2 /tmp/pings)"
	grep -q '100 packets received, 0% packet loss' /tmp/pings || fail "pings: $(tail -n 2 /tmp/pings)"
}

# Rings are made anew, in other sizes, while they carry: a reset of each queue.
net_resize() {
	(while [ ! -e /tmp/net.stop ]; do ping -A -c 50 -s 1300 10.9.0.1 >/dev/null; done) &
	pings=$!
	for size in 64 128 32 64 256; do
		ethtool -G eth0 rx $size tx $size || fail "ethtool -G to $size"
		[ "$(value devices/n0 queue0_size)" -eq $size ] || fail "receive ring of $(value devices/n0 queue0_size)"
		[ "$(value devices/n0 queue1_size)" -eq $size ] || fail "transmit ring of $(value devices/n0 queue1_size)"
		wait_for "an answer with rings of $size" ping -c 1 -W 1 10.9.0.1
	done
	touch /tmp/net.stop
	wait $pings
}

# vsock_carry: the same bytes to the device's host, whose end is a unix socket, and back.
vsock_carry() {
	rm -f /tmp/v_1000
	socat UNIX-LISTEN:/tmp/v_1000 EXEC:'busybox cat' 2>/dev/null &
	listener=$!
	wait_for "the host's end" [ -S /tmp/v_1000 ]
	wait_for "bytes over a socket" sh -c "socat -t 300 - VSOCK-CONNECT:2:1000 </tmp/net.bytes >/tmp/v.got"
	cmp /tmp/net.bytes /tmp/v.got || fail "other bytes came back over a socket"
	wait $listener
}

# net_try: all of it.
net_try() {
	net_pings
	net_carry env host 10.9.0.1
	net_carry host env 10.9.0.2
	net_resize
	net_carry env host 10.9.0.1
	net_carry host env 10.9.0.2
	[ "$(value devices/n0 queue0_errors)" -eq 0 ] || fail "receive buffers ended with errors"
}

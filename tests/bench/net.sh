#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# net.sh BUILD: in one guest under QEMU (software emulation), in one boot, four interfaces: the backend's on a tap and on
# passt, and QEMU's own virtio-net on a tap and on passt. iperf3 in alternating rounds, to the guest and from it. Prints
# medians, ratios, and what the frontend counted per packet. BENCH_ROUNDS (3), BENCH_SECONDS per run (2), BENCH_KEEP=FILE
# keeps the lines.
# Exit status: 0 measured, 77 something is missing, 1 failed.
# shellcheck disable=SC2016 # what the guest's shell expands
set -u
here=$(cd "$(dirname "$0")" && pwd)
build=$(cd "${1:?usage: net.sh BUILD}" && pwd) || exit 1
export VHX_BUILD=$build VHX_GUEST_PATIENCE=${VHX_GUEST_PATIENCE:-1800}
# shellcheck source=../lab/lib.sh
. "$here/../lab/lib.sh"
# shellcheck source=../e2e/commands.sh
. "$here/../e2e/commands.sh"
need_programs
need_qemu 6.1
need iperf3 iperf3
need passt passt
in_netns "$build"
rounds=${BENCH_ROUNDS:-3} seconds=${BENCH_SECONDS:-2}

for n in 0 1; do
	ip tuntap add vm$n mode tap || fail "no tap can be made"
	ip addr add "10.9.$n.1/24" dev vm$n
	ip link set vm$n up
done
uplink_make

# start_passt NAME PORT: the guest's port 5201, at this one of the host.
start_passt() {
	start "$1" passt --foreground --stderr --socket "$tmp/$1.sock" --runas 0 --tcp-ports "$2:5201"
	wait_listening "$1" "$tmp/$1.sock"
}

start_passt passt 5301
start_passt own-passt 5302
start_backend --device "net,id=tap,end=tap:vm0" --device "net,id=passt,end=stream:$tmp/passt.sock,mtu=65520"
start_frontend --vhost-user "$tmp/vm.sock,id=tap" --vhost-user "$tmp/pt.sock,id=passt"

cat >"$tmp/run.sh" <<'GUEST'
modprobe virtio_net || exit 1
n=0
for at in 10.9.0.2/24 10.8.0.5/24 10.9.1.2/24 10.8.0.5/24; do
	ip addr add $at dev eth$n
	ip link set eth$n up
	n=$((n + 1))
done
ip link set eth1 mtu 65520
ip link set eth3 mtu 65520
echo NET-UP
GUEST
guest_obeys >>"$tmp/run.sh"

# Both interfaces on passt have the host's address: one is there at a time.
passt_use() {
	guest "ip addr flush dev eth1; ip addr flush dev eth3; ip addr add 10.8.0.5/24 dev eth$1; ip route replace default via 10.8.0.1 dev eth$1"
}

# What the frontend counted so far: packets both ways, messages to the backend and from it, sends, wakes.
counts() {
	stats "$tmp/fe.ctl" '" ".join(map(str, (sum(d["completed"] for d in s["devices"]), *(s["channels"][0][k] for k in ("tx_messages", "rx_messages", "sends", "wakes_sent")))))'
}

# iperf END ENGINE WAY HOST PORT: one run, one line.
iperf() {
	local back=() before after
	[ "$3" = to-guest ] || back=(-R)
	before=$(counts)
	iperf3 -c "$4" -p "$5" -t "$seconds" -J ${back[@]+"${back[@]}"} >"$tmp/iperf3.json" || fail "iperf3: $(tail -n 3 "$tmp/iperf3.json")"
	after=$(counts)
	python3 -c 'import json, sys
e = json.load(open(sys.argv[1]))["end"]["sum_received"]
print("NET", *sys.argv[2:5], round(e["bits_per_second"] / 1e6), e["bytes"], *(int(b) - int(a) for a, b in zip(sys.argv[5].split(), sys.argv[6].split())))' \
		"$tmp/iperf3.json" "$1" "$2" "$3" "$before" "$after" >>"$tmp/raw" || fail "no result of iperf3"
}

boot qemu --mem 384M --device-option vectors=0 --device "net:$tmp/vm.sock" --device "net:$tmp/pt.sock" \
	--netdev tap,ifname=vm1,script=no,downscript=no \
	--netdev "stream,server=off,addr.type=unix,addr.path=$tmp/own-passt.sock" \
	--script "$tmp/run.sh" --program "$(command -v iperf3)"
wait_guest '^NET-UP'
echo "bench: $rounds rounds of $seconds s, load $(cut -d' ' -f1-3 /proc/loadavg)"
guest "iperf3 -s -D -p 5201"
: >"$tmp/raw"
for ((round = 0; round < rounds; round++)); do
	order='hmx qemu'
	[ $((round % 2)) -eq 0 ] || order='qemu hmx'
	for way in to-guest from-guest; do
		for engine in $order; do
			at=10.9.0.2
			[ "$engine" = hmx ] || at=10.9.1.2
			iperf tap "$engine" $way $at 5201
		done
		for engine in $order; do
			n=1
			[ "$engine" = hmx ] || n=3
			passt_use $n
			iperf passt "$engine" $way 10.8.0.5 530$((n / 2 + 1))
		done
	done
done
say end
guest_ok
[ -z "${BENCH_KEEP:-}" ] || cp "$tmp/raw" "$BENCH_KEEP"
echo "bench: load $(cut -d' ' -f1-3 /proc/loadavg)"
python3 -B "$here/net_report.py" "$tmp/raw"

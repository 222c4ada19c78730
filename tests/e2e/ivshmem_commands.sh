#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# What the guest has set by commands of its network holds behind another backend: a filter, by which frames for others
# do not reach it, an address, and two pairs of queues. A stock kernel, whose driver says none of them twice.
# shellcheck disable=SC2016 # what the guest's shell expands
# shellcheck source=ivshmem.sh
. "$(dirname "$0")/ivshmem.sh"
need ethtool ethtool
need ping iputils-ping
in_netns "$@"
ip tuntap add vm0 mode tap multi_queue || fail "no tap can be made"
ip addr add 10.9.0.1/24 dev vm0
ip link set vm0 up
make_image "$tmp/disk.img" 1M
ivshmem_devices=(--device "blk,id=disk0,file=$tmp/disk.img"
	--device "net,id=n0,end=tap:vm0,mac=52:54:00:12:34:56,queues=2")

cat >"$tmp/run" <<'GUEST'
modprobe virtio_net
until [ -e /sys/class/net/eth0 ]; do sleep 0.1; done
ethtool -L eth0 combined 2 || exit 1
ip link set eth0 address 52:54:00:12:34:99
ip addr add 10.9.0.2/24 dev eth0
ip link set eth0 up
echo NET-UP
# Commands of the host, one per line.
while read -r line; do
	[ "$line" != end ] || break
	sh -c "$line"
done
sed -n 's/^commands_/COMMANDS /p' /sys/kernel/debug/virtio_hmx/hmx0/devices/n0
GUEST

# received: packets that the guest has got, by its own count.
asked=0
received() {
	asked=$((asked + 1))
	say "echo RX$asked=\$(cat /sys/class/net/eth0/statistics/rx_packets)"
	wait_guest "^RX$asked=[0-9]"
	got=$(sed -n "s/\r//g; s/^RX$asked=//p" "$tmp/guest.log")
}

# What is not for the guest's address does not reach it.
ip neigh add 10.9.0.77 lladdr 52:54:00:aa:bb:cc dev vm0
strangers=50
filtered() {
	local before
	received
	before=$got
	ping -q -c $strangers -i 0.002 -w 1 10.9.0.77 >/dev/null
	# Behind them.
	ping -q -c 1 10.9.0.2 >/dev/null || fail "$1: the guest does not answer"
	received
	[ $((got - before)) -lt $strangers ] || fail "$1: the guest gets packets for another address"
}

ivshmem_boot "$tmp/run" --mem 256M --smp 2 --program "$(PATH=$PATH:/sbin command -v ethtool)"
wait_guest '^NET-UP'
wait_for "the guest" "$vhx_guest_patience" ping -q -c 1 -W 1 10.9.0.2
filtered "before"
for n in 1 2; do
	crash backend
	ivshmem_serve
	wait_for "the guest behind backend $n" "$vhx_guest_patience" ping -q -c 1 -W 1 10.9.0.2
	filtered "behind backend $n"
done
say end
ivshmem_end
told=$(sed -n 's/\r//g; s/^COMMANDS told //p' "$tmp/guest.log")
[ "${told:-0}" -ge 4 ] || fail "backends were told of ${told:-no} commands"
echo "two backends were told of $told commands"

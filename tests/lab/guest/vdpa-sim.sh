# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=dash disable=SC2154,SC2086
# Sourced by vduse.sh, in the guest, behind vdpa.sh: the kernel's simulator of vDPA devices, as what a backend bridges.
# It is no process behind VDUSE: the kernel itself takes the ring apart (vringh), in the bridge's memory, and offers
# neither indirect descriptors nor event indices. Its disk is 128 MiB of memory; its network interface gives back what
# is for its own address or for many, drops the rest, and has a control queue, which no bridge carries.
# No address has a byte of 0: it compares them as strings.
mac=02:76:64:70:61:01 no_mac=02:76:64:70:61:02

for m in vringh vdpa_sim vdpa_sim_blk vdpa_sim_net; do
	insmod /$m.ko || fail "no module $m"
done
vdpa dev add name simblk0 mgmtdev vdpasim_blk || fail "no simulated disk"
vdpa dev add name simnet0 mgmtdev vdpasim_net mac $mac || fail "no simulated network"

# node NAME: what vhost_vdpa shows it as.
node() {
	for n in "/sys/bus/vdpa/devices/$1"/vhost-vdpa-*; do
		echo "/dev/${n##*/}"
	done
}
shown() { [ -c "$(node "$1")" ]; }
await "simblk0's node" shown simblk0
await "simnet0's node" shown simnet0

# Both by one backend and one frontend.
sim_bridge() {
	vhx-backend --listen unix:/tmp/bridge.sock --control /tmp/bridge.ctl --device "vdpa,id=v0,path=$(node simblk0)" \
		--device "vdpa,id=n0,path=$(node simnet0)" >>/tmp/bridge.log 2>&1 &
	bridge=$!
}
: >/tmp/bridge.log
sim_bridge
await "the simulated disk" grep -q 'v0: /dev/vhost-vdpa-[0-9]*: blk, 1 queue, split rings' /tmp/bridge.log
await "the simulated network" grep -q 'n0: /dev/vhost-vdpa-[0-9]*: net, 2 queues, split rings' /tmp/bridge.log
vhx-frontend --connect unix:/tmp/bridge.sock --vduse round,id=v0 --vduse rnet,id=n0 >>/tmp/round.log 2>&1 &
round=$!
for d in round rnet; do
	await "$d" grep -q "$d: VDUSE device is there" /tmp/round.log
	bind $d
	by_kernel $d
done
await vda [ -b /dev/vda ]
await eth0 [ -e /sys/class/net/eth0 ]

# The disk: its own config, bytes, a file system, load while the bridge dies; and what it has then, by the kernel's own
# driver without a bridge.
[ "$(cat /sys/block/vda/size)" = 262144 ] || fail "a disk of $(cat /sys/block/vda/size) sectors"
[ "$(cat /sys/block/vda/serial)" = vdpa_blk_sim ] || fail "the disk's name is '$(cat /sys/block/vda/serial)'"
[ "$(cat /sys/block/vda/queue/max_segments)x$(cat /sys/block/vda/queue/max_segment_size)" = 32x4096 ] ||
	fail "requests of more than the device takes"
mkfs.ext4 -q /dev/vda || fail "mkfs on the simulated disk"
sh /tree.sh >/tmp/tree || fail "tree on the simulated disk"
e2fsck -fn /dev/vda >/tmp/e2fsck.log || fail "fsck on the simulated disk"
head -c 8388608 /dev/urandom >/tmp/more
dd if=/tmp/more of=/dev/vda bs=1M seek=96 oflag=direct conv=fsync 2>/dev/null || fail "write to the simulated disk"
has_more() { dd if=/dev/vda bs=64k skip=1536 count=128 iflag=direct 2>/dev/null | cmp - /tmp/more; }
has_more || fail "read of the simulated disk"
echo VDPA-SIM-DISK
fio --name=v --filename=/dev/vda --offset=104m --size=16m --direct=1 --thread --ioengine=libaio --iodepth=16 \
	--rw=randwrite --bsrange=512-64k --bs_unaligned=0 --blockalign=512 --verify=crc32c --verify_fatal=1 \
	--do_verify=1 --verify_state_save=0 >/tmp/fio.log 2>&1 &
fio=$!
sleep 1
kill -9 $bridge
wait $bridge 2>/dev/null
sim_bridge
wait $fio || fail fio
grep -q 'err= 0' /tmp/fio.log || fail fio
await "the bridge's end" grep -q 'v0: running again' /tmp/round.log
dmesg | grep -E 'I/O error' && fail "the kernel saw I/O errors"
echo VDPA-SIM-KILLED

# The network. Routes by policy, so that what an address of this host sends to another one of its own goes out by eth0;
# the interface at the other end gives it back.
unshare -n sleep 600 &
other=$!
await "another namespace" apart
$ip link set eth0 netns $other || fail "eth0 does not move"
inside $ip -o link show eth0 | grep -q "link/ether $mac" || fail "its address is not the device's"
inside $ip -o link show eth0 | grep -q 'mtu 1500' || fail "its MTU is not the device's"
inside sh -c 'echo 1 >/proc/sys/net/ipv4/conf/eth0/accept_local; echo 0 >/proc/sys/net/ipv4/conf/all/rp_filter
	echo 0 >/proc/sys/net/ipv4/conf/eth0/rp_filter'
inside $ip link set lo up
inside $ip link set eth0 up
inside $ip addr add 10.9.1.1/24 dev eth0
inside $ip addr add 10.9.1.2/24 dev eth0
inside $ip rule add pref 100 iif lo lookup 100
inside $ip rule add pref 200 lookup local
inside $ip rule del pref 0
inside $ip route add 10.9.1.0/24 dev eth0 table 100
for a in 1 2; do
	inside $ip neigh add 10.9.1.$a lladdr $mac dev eth0 nud permanent
done
inside $ip neigh add 10.9.1.3 lladdr $no_mac dev eth0 nud permanent
inside ping -I 10.9.1.1 -c 20 -i 0.05 10.9.1.2 >/tmp/ping.log || fail "ping: $(cat /tmp/ping.log)"
grep -q ' 0% packet loss' /tmp/ping.log || fail "ping: $(cat /tmp/ping.log)"
inside httpd -p 5000 -h /tmp/served || fail httpd
inside wget -q -O /tmp/got http://10.9.1.2:5000/part || fail wget
cmp /tmp/served/part /tmp/got || fail "what the simulated network gave back differs"
vdpa dev vstats show simnet0 qidx 0 | grep -q 'rx drops 0 ' || fail "the simulated network drops what is for itself"
inside ping -I 10.9.1.1 -c 5 -i 0.05 -W 1 10.9.1.3 >/tmp/ping.log && fail "an answer of nobody"
drops() { vdpa dev vstats show simnet0 qidx 0 | grep -q 'rx drops 5 '; }
await "five frames that are dropped" drops
# What the device was told: nothing of a control queue, although it has one.
vdpa mgmtdev show vdpasim_net | grep -q 'CTRL_VQ' || fail "the simulated network has no control queue"
vdpa dev config show simnet0 | grep -q 'negotiated_features MTU MAC STATUS VERSION_1 ACCESS_PLATFORM *$' ||
	fail "features: $(vdpa dev config show simnet0)"
kill $other
echo VDPA-SIM-NET

unbind round
unbind rnet
kill $round
wait $round || fail "the bridge's frontend did not end well"
kill $bridge
wait $bridge || fail "the bridge did not end well"
by_kernel simblk0
await vda [ -b /dev/vda ]
has_more || fail "the simulated disk lost its bytes"
e2fsck -fn /dev/vda >/tmp/e2fsck.log || fail "fsck without the bridge"
vdpa dev del simblk0 || fail "simblk0 does not go"
vdpa dev del simnet0 || fail "simnet0 does not go"
echo VDPA-SIM-ENDS

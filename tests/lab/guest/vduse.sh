# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=dash disable=SC2317
# Guest: backend and frontend run in here, confined, and the kernel that they run on is the driver's side of their
# devices (VDUSE). vda is a disk with a split ring, vdb one with two packed ones, eth0 a network interface whose other
# end is a tap.
set -u
ip=/bin/ip # not the shell's own
fail() {
	tail -n 12 /tmp/*.log
	dmesg | tail -n 8
	echo "guest: $*"
	exit 1
}

# await WHAT COMMAND...: a guard, not an expectation.
await() {
	what=$1 left=600
	shift
	until "$@" >/dev/null 2>&1; do
		left=$((left - 1))
		[ $left -gt 0 ] || fail "waited in vain for $what"
		sleep 0.1
	done
}

backend() {
	vhx-backend --listen unix:/tmp/be.sock --control /tmp/be.ctl \
		--device blk,id=disk0,file=/tmp/disk0.img --device blk,id=disk1,file=/tmp/disk1.img,num-queues=2 \
		--device blk,id=disk2,file=/tmp/disk2.img --device net,id=n0,end=tap:tap0 --device rng,id=rng0 >>/tmp/backend.log 2>&1 &
	backend=$!
}

frontend() {
	vhx-frontend --connect unix:/tmp/be.sock --control /tmp/fe.ctl "$@" >>/tmp/frontend.log 2>&1 &
	frontend=$!
}

# refused LINE ARGUMENT...: a frontend that ends with this line.
refused() {
	line=$1
	shift
	vhx-frontend --log-level error --connect unix:/tmp/be.sock "$@" >/tmp/refused.log 2>&1 && fail "taken: $*"
	grep -Eq -- "$line" /tmp/refused.log || fail "did not say '$line'"
	[ "$(wc -l </tmp/refused.log)" = 1 ] || fail "more than one line"
}

there() { grep -q "$1: VDUSE device is there" /tmp/frontend.log; }
bind() { vdpa dev add name "$1" mgmtdev vduse || fail "vdpa dev add $1"; }
unbind() { vdpa dev del "$1" || fail "vdpa dev del $1"; }

truncate -s 64M /tmp/disk0.img /tmp/disk1.img /tmp/disk2.img
modprobe tun
$ip tuntap add tap0 mode tap || fail "no tap"
backend
await "the backend" [ -S /tmp/be.sock ]
refused 'is vduse loaded' --vduse vhx0,id=disk0
for m in vduse virtio_vdpa virtio_net; do
	modprobe $m || fail "no module $m"
done
refused 'takes no such device' --vduse vhx0,id=rng0
refused 'present the same device' --vduse vhx0,id=disk0 --vduse vhx1,id=disk0
[ "$(echo /dev/vduse/*)" = /dev/vduse/control ] || fail "left behind: $(echo /dev/vduse/*)"

frontend --vduse vhx0,id=disk0 --vduse vhx1,id=disk1,queue-size=128,packed --vduse vhx2,id=n0
for d in vhx0 vhx1 vhx2; do
	await "$d" there $d
done
refused 'bound or in use' --vduse vhx0,id=disk2
bind vhx0
await vda [ -b /dev/vda ]
bind vhx1
await vdb [ -b /dev/vdb ]
[ -e /sys/block/vdb/mq/1 ] || fail "vdb has one queue"

# Bytes there and back, and what the backend's file has.
head -c 8388608 /dev/urandom >/tmp/data
for d in 0:a 1:b; do
	dd if=/tmp/data of=/dev/vd${d#*:} bs=1M oflag=direct 2>/dev/null || fail "write vd${d#*:}"
	dd if=/dev/vd${d#*:} bs=64k count=128 iflag=direct 2>/dev/null | cmp - /tmp/data || fail "read vd${d#*:}"
	cmp -n 8388608 /tmp/data /tmp/disk${d%:*}.img || fail "disk${d%:*}.img differs"
done
echo VDUSE-DISKS

# A file system.
mkfs.ext4 -q /dev/vda || fail mkfs
sh /tree.sh || fail tree
e2fsck -fn /dev/vda >/tmp/e2fsck.log || fail fsck
echo VDUSE-TREE

# The backend grows the image.
truncate -s 96M /tmp/disk0.img
size() { [ "$(cat /sys/block/vda/size)" = "$1" ]; }
await "the new size" size 196608
echo VDUSE-GROWN

# Verified writes while the backend is killed, again and again.
fio --name=v --filename=/dev/vdb --size=24m --direct=1 --thread --ioengine=libaio --iodepth=16 --rw=randwrite \
	--bsrange=512-64k --bs_unaligned=0 --blockalign=512 --verify=crc32c --verify_fatal=1 --do_verify=1 \
	--verify_state_save=0 >/tmp/fio.log 2>&1 &
fio=$!
kills=0
while kill -0 $fio 2>/dev/null && [ $kills -lt 4 ]; do
	sleep 1
	kill -9 $backend
	wait $backend 2>/dev/null
	kills=$((kills + 1))
	backend
done
wait $fio || fail fio
grep -q 'err= 0' /tmp/fio.log || fail fio
await "the replaced backend" grep -q 'disk1: running again' /tmp/frontend.log
dmesg | grep -E 'I/O error' && fail "the kernel saw I/O errors"
echo "VDUSE-KILLED $kills times"

# The device goes in the middle of reads, and comes back with what was written.
dd if=/tmp/data of=/dev/vdb bs=1M oflag=direct 2>/dev/null || fail "write"
(while dd if=/dev/vdb of=/dev/null bs=16k iflag=direct 2>/dev/null; do :; done) &
reads=$!
sleep 0.3
unbind vhx1
wait $reads
[ ! -b /dev/vdb ] || fail "vdb is still there"
bind vhx1
await "vdb again" [ -b /dev/vdb ]
dd if=/dev/vdb bs=64k count=128 iflag=direct 2>/dev/null | cmp - /tmp/data || fail "vdb lost its bytes"
echo VDUSE-AGAIN

# A network.
bind vhx2
await eth0 [ -e /sys/class/net/eth0 ]
unshare -n sleep 600 &
other=$!
apart() { [ "$(readlink "/proc/$other/ns/net")" != "$(readlink /proc/self/ns/net)" ]; }
await "another namespace" apart
inside() { nsenter -t $other -n "$@"; }
$ip link set eth0 netns $other || fail "eth0 does not move"
$ip addr add 10.9.0.1/24 dev tap0
$ip link set tap0 up
inside $ip addr add 10.9.0.2/24 dev eth0
inside $ip link set eth0 up
ping -c 20 -i 0.05 10.9.0.2 >/tmp/ping.log || fail "ping: $(cat /tmp/ping.log)"
grep -q ' 0% packet loss' /tmp/ping.log || fail "ping: $(cat /tmp/ping.log)"
mkdir /tmp/served
head -c 2097152 /tmp/data >/tmp/served/part
inside httpd -p 5000 -h /tmp/served || fail httpd
wget -q -O /tmp/got http://10.9.0.2:5000/part || fail wget
cmp /tmp/served/part /tmp/got || fail "what came over eth0 differs"
kill $other
echo VDUSE-NET

# Three ways to end. Unbound, the devices go with their frontend, also when that is killed.
for d in vhx0 vhx1 vhx2; do
	unbind $d
done
kill -9 $frontend
wait $frontend 2>/dev/null
gone() { [ "$(echo /dev/vduse/*)" = /dev/vduse/control ]; }
await "the devices' end" gone
# Bound: said, and they stay for who knows of them.
: >/tmp/frontend.log
frontend --vduse vhx0,id=disk0
await "vhx0" there vhx0
bind vhx0
kill $frontend
wait $frontend || fail "the frontend did not end well"
grep -q 'waits for ever: vdpa dev del vhx0' /tmp/frontend.log || fail "nothing was said about vhx0"
refused 'bound or in use' --vduse vhx0,id=disk0
echo 1 >/sys/class/vduse/vhx0/msg_timeout
unbind vhx0
# Silent: the kernel gives it up, and the next one begins anew.
: >/tmp/frontend.log
frontend --vduse vhx0,id=disk0
await "vhx0 once more" there vhx0
echo 1 >/sys/class/vduse/vhx0/msg_timeout
kill -STOP $frontend
timeout 60 vdpa dev add name vhx0 mgmtdev vduse
kill -CONT $frontend
await "the kernel's word" grep -q 'the kernel has given the device up' /tmp/frontend.log
vdpa dev del vhx0
kill $frontend
wait $frontend || fail "the frontend did not end well"
await "the device's end" gone
echo VDUSE-ENDS
kill $backend
wait $backend || fail "the backend did not end well"
. /vdpa.sh
[ ! -e /vdpa_sim.ko ] || . /vdpa-sim.sh
grep -E 'Sanitizer|runtime error|Assertion|broke' /tmp/*.log && fail "a program complains"
exit 0

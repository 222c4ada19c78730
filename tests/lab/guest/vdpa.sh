# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=dash disable=SC2154,SC2086
# Sourced by vduse.sh, in the guest: vDPA devices as what a backend bridges. A disk goes round twice: virtio_blk, VDUSE,
# frontend, bridging backend, vhost_vdpa, VDUSE, and then either frontend and backend once more, or qemu-storage-daemon.

# bridge PATH: what vhost_vdpa shows there, by a backend of its own.
bridge() {
	vhx-backend --listen unix:/tmp/bridge.sock --control /tmp/bridge.ctl --device "vdpa,id=v0,path=$1" >>/tmp/bridge.log 2>&1 &
	bridge=$!
}

# by_kernel NAME: to virtio_vdpa, although vhost_vdpa was there first.
by_kernel() {
	echo virtio_vdpa >"/sys/bus/vdpa/devices/$1/driver_override"
	echo "$1" >/sys/bus/vdpa/drivers/vhost_vdpa/unbind
	echo "$1" >/sys/bus/vdpa/drivers/virtio_vdpa/bind
}

# through IMAGE: bytes there and back through the disk that ends in IMAGE.
through() {
	head -c 4194304 /dev/urandom >/tmp/more
	dd if=/tmp/more of=/dev/vda bs=1M oflag=direct conv=fsync 2>/dev/null || fail "write through a vDPA device"
	dd if=/dev/vda bs=64k count=64 iflag=direct 2>/dev/null | cmp - /tmp/more || fail "read through a vDPA device"
	cmp -n 4194304 /tmp/more "$1" || fail "$1 differs"
}

# offer: the bridged disk, to any driver.
offer() {
	vhx-frontend --connect unix:/tmp/bridge.sock --vduse round,id=v0 --control /tmp/round.ctl >>/tmp/round.log 2>&1 &
	round=$!
	await "the bridge's device" grep -q 'round: VDUSE device is there' /tmp/round.log
	bind round
}

# present: the bridged disk, as /dev/vda.
present() {
	offer
	by_kernel round
	await vda [ -b /dev/vda ]
}

unpresent() {
	unbind round
	kill $round
	wait $round || fail "the bridge's frontend did not end well"
	kill $bridge
	wait $bridge || fail "the bridge did not end well"
	: >/tmp/round.log
}

rmmod virtio_vdpa
modprobe vhost_vdpa || fail "no vhost_vdpa"
modprobe virtio_vdpa || fail "no virtio_vdpa"
refused_bridge() {
	vhx-backend --log-level error --listen unix:/tmp/refused.sock --device "vdpa,id=v0,path=$2" >/tmp/refused.log 2>&1 && fail "taken: $2"
	grep -Eq -- "$1" /tmp/refused.log || fail "did not say '$1'"
	[ "$(wc -l </tmp/refused.log)" = 1 ] || fail "more than one line"
}
refused_bridge 'v0: /dev/vhost-vdpa-0: No such file or directory .is the device bound to vhost_vdpa' /dev/vhost-vdpa-0
refused_bridge 'v0: /dev/null: this is no vDPA device' /dev/null

# Round through a frontend and a backend of ours.
backend
: >/tmp/frontend.log
frontend --vduse vhx0,id=disk2,packed
await "vhx0" there vhx0
bind vhx0
await "the vhost-vdpa device" [ -c /dev/vhost-vdpa-0 ]
bridge /dev/vhost-vdpa-0
present
refused_bridge 'v0: /dev/vhost-vdpa-0: Device or resource busy' /dev/vhost-vdpa-0
through /tmp/disk2.img
echo VDPA-ROUND

# Both backends die under load.
fio --name=v --filename=/dev/vda --size=16m --direct=1 --thread --ioengine=libaio --iodepth=16 --rw=randwrite \
	--bsrange=512-64k --bs_unaligned=0 --blockalign=512 --verify=crc32c --verify_fatal=1 --do_verify=1 \
	--verify_state_save=0 >/tmp/fio.log 2>&1 &
fio=$!
sleep 1
kill -9 $bridge
wait $bridge 2>/dev/null
bridge /dev/vhost-vdpa-0
sleep 1
kill -9 $backend
wait $backend 2>/dev/null
backend
wait $fio || fail fio
grep -q 'err= 0' /tmp/fio.log || fail fio
await "the bridge's end" grep -q 'v0: running again' /tmp/round.log
dmesg | grep -E 'I/O error' && fail "the kernel saw I/O errors"
echo VDPA-KILLED

# The backend behind it grows the image.
truncate -s 80M /tmp/disk2.img
await "the new size" size 163840
unpresent
unbind vhx0
kill $frontend
wait $frontend || fail "the frontend did not end well"
kill $backend
wait $backend || fail "the backend did not end well"
echo VDPA-GROWN

# A disk that somebody else's program serves.
truncate -s 32M /tmp/qsd.img
qemu-storage-daemon --blockdev driver=file,node-name=f,filename=/tmp/qsd.img \
	--export type=vduse-blk,id=e,node-name=f,name=qsd,writable=on,num-queues=2 >/tmp/qsd.log 2>&1 &
qsd=$!
await "qemu-storage-daemon" [ -e /dev/vduse/qsd ]
await "its queues" vdpa dev add name qsd mgmtdev vduse
await "its device" [ -c /dev/vhost-vdpa-0 ]
bridge /dev/vhost-vdpa-0
present
through /tmp/qsd.img
unpresent
echo VDPA-QSD

# It hangs while the bridge starts its device. The backend answers all others.
: >/tmp/bridge.log
bridge /dev/vhost-vdpa-0
await "the bridge's device" grep -q 'v0: /dev/vhost-vdpa-0: blk' /tmp/bridge.log
kill -STOP $qsd
offer
by_kernel round &
await "the hang" grep -q 'v0: /dev/vhost-vdpa-0 does not answer: it is to start' /tmp/bridge.log
timeout 2 vhxctl stats /tmp/bridge.ctl >/dev/null || fail "the backend waits for its device"
kill -CONT $qsd
await vda [ -b /dev/vda ]
through /tmp/qsd.img
unpresent
unbind qsd
kill $qsd
echo VDPA-HANG

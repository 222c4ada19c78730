# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=dash
# Guest: the driver's disk is taken away in every way while it is read, and comes back: its virtio driver
# unbound, its window pulled out, its backend without the device, the modules unloaded and loaded. Word of the
# kernel's command line: vhx_rounds=N (default 3).
# shellcheck source=hmx.sh
. /hmx.sh
rounds=3
# shellcheck disable=SC2013 # words are what is wanted
for w in $(cat /proc/cmdline); do
	case $w in
	vhx_rounds=*) rounds=${w#*=} ;;
	esac
done
truncate -s 16M /tmp/disk.img
head -c 4194304 /dev/urandom >/tmp/bytes
dd if=/tmp/bytes of=/tmp/disk.img conv=notrunc 2>/dev/null
other=rng,id=other
disk=blk,id=disk0,file=/tmp/disk.img

# load_start: reads until there is nothing to read any more.
load_start() {
	wait_for /dev/vda [ -b /dev/vda ]
	(while dd if=/dev/vda of=/dev/null bs=64k iflag=direct 2>/dev/null; do :; done) &
	load=$!
	completed=$(value devices/disk0 queue0_completed)
	wait_for "load" at_least devices/disk0 queue0_completed $((completed + 20))
}

# load_ended: the disk has gone under it.
load_ended() {
	wait_for "the end of the disk" absent /dev/vda
	wait_for "the end of the load" gone "$load"
	wait "$load"
}

check() {
	wait_for /dev/vda [ -b /dev/vda ]
	head -c 4194304 /dev/vda | cmp - /tmp/bytes || fail "after $1 the disk reads otherwise"
}

virtio_of() {
	basename "$(readlink -f "/sys/block/$1/device")"
}

# Unloaded before anything was connected, and with a port that never met anybody.
driver_unload
driver_load
rm -f /tmp/be.sock
relay_start
wait_for "a channel" grep -q opening "$hmx/channel"
relay_kill
driver_unload
driver_load

backend_start "$disk"
relay_start
for n in $(seq "$rounds"); do
	load_start
	vdev=$(virtio_of vda)
	echo "$vdev" >/sys/bus/virtio/drivers/virtio_blk/unbind || fail "unbind"
	load_ended
	echo "$vdev" >/sys/bus/virtio/drivers/virtio_blk/bind || fail "bind"
	check "a new bind"

	load_start
	backend_kill
	backend_start "$other"
	load_ended
	wait_for "the other device" sh -c 'grep -qx other /sys/bus/virtio/devices/*/hmx_name'
	wait_for "its use" sh -c 'grep -qx running /sys/bus/virtio/devices/*/hmx_state'
	backend_kill
	backend_start "$disk"
	check "its return to the backend"

	load_start
	relay_kill
	load_ended
	relay_start
	check "a new window"

	load_start
	relay_kill
	load_ended
	driver_unload
	driver_load
	relay_start
	check "a reload"
	echo "ROUND $n"
done
relay_kill
driver_unload
backend_kill
echo "RELOAD-DONE $rounds rounds"

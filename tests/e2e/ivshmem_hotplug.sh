#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Disks come and go at a confined backend while the guest runs: vhxctl adds one, the guest sees and uses it, and it is
# removed in the middle of a load, again and again. The first disk, on the same channel, is read all the time and
# notices nothing. Without a guest: operate/device.sh. Before that, Linux' virtio_scsi on the same channel: a SCSI disk is
# written to while its unit is reset all the time, and has what was written.
# shellcheck source=ivshmem.sh
. "$(dirname "$0")/ivshmem.sh"
rounds=${VHX_ROUNDS:-3}
[ -z "${VHX_TORTURE:-}" ] || rounds=${VHX_ROUNDS:-40}
make_image "$tmp/disk.img" 32M
make_image "$tmp/more.img" 16M
make_image "$tmp/scsi.img" 8M
need sg_reset sg3-utils
ivshmem_devices=(--device "blk,id=disk0,file=$tmp/disk.img" --device "scsi,id=s0,lun0=$tmp/scsi.img")
cat >"$tmp/run" <<GUEST
rounds=$rounds
GUEST
cat >>"$tmp/run" <<'GUEST'
hmx=/sys/kernel/debug/virtio_hmx/hmx0
head -c 4194304 /dev/urandom >/tmp/data
dd if=/tmp/data of=/dev/vda bs=1M conv=fsync 2>/dev/null
modprobe virtio_scsi && modprobe sd_mod || exit 7
wait_disk sda
(n=0
 until [ -e /tmp/written ]; do
	sg_reset --device /dev/sda || { echo RESET-FAILED; exit 1; }
	n=$((n + 1))
 done
 echo "RESETS $n") &
resets=$!
dd if=/tmp/data of=/dev/sda bs=64k oflag=direct conv=fsync 2>/dev/null || exit 8
touch /tmp/written
wait $resets || exit 9
echo 3 >/proc/sys/vm/drop_caches
head -c 4194304 /dev/sda | cmp - /tmp/data || exit 10
(while [ ! -e /tmp/stop ]; do
	dd if=/dev/vda bs=64k count=64 iflag=direct 2>/dev/null | cmp - /tmp/data || { echo FIRST-DISK-FAILED; exit 1; }
 done) &
first=$!
number() { sed -n "s/^$1 //p" "$hmx/channel"; }
lives=$(number lives)
echo READY
n=0
while [ $n -lt "$rounds" ]; do
	n=$((n + 1))
	until [ -b /dev/vdb ]; do sleep 0.1; done
	[ "$(cat /sys/block/vdb/size)" = 32768 ] || { echo "size $(cat /sys/block/vdb/size)"; exit 1; }
	# What the last round wrote is there, and what this one writes as well.
	[ $n -eq 1 ] || dd if=/dev/vdb bs=64k count=8 iflag=direct 2>/dev/null | cmp - /tmp/last || exit 2
	head -c 524288 /dev/urandom >/tmp/last
	dd if=/tmp/last of=/dev/vdb bs=64k oflag=direct conv=fsync 2>/dev/null || exit 3
	(while dd if=/dev/zero of=/dev/vdb bs=16k seek=64 count=512 oflag=direct conv=nocreat 2>/dev/null; do :; done) &
	writes=$!
	(while dd if=/dev/vdb of=/dev/null bs=64k iflag=direct 2>/dev/null; do :; done) &
	reads=$!
	echo "USED $n"
	wait $writes $reads
	# Its last requests end before its node goes.
	until [ ! -e /dev/vdb ]; do sleep 0.1; done
	until [ ! -e $hmx/devices/more ]; do sleep 0.1; done
	echo "GONE $n"
done
touch /tmp/stop
wait $first || exit 5
[ "$(number lives)" = "$lives" ] || { echo "the channel ended: $(number lives) lives"; exit 6; }
echo HOTPLUGGED
GUEST
more_works() { [ "$(stats "$tmp/be.ctl" "[d['completed'] > 50 for d in s['devices'] if d['id'] == 'more']")" = '[True]' ]; }
more_gone() { [ "$(stats "$tmp/be.ctl" "[d['id'] for d in s['devices']]")" = "['disk0', 's0']" ]; }

ivshmem_boot "$tmp/run" --program "$(command -v sg_reset)"
wait_guest '^READY'
for n in $(seq "$rounds"); do
	"$vhxctl" device add "$tmp/be.ctl" "blk,id=more,file=$tmp/more.img" || fail "disk $n can't be added"
	wait_guest "^USED $n"
	wait_for "a load on disk $n" "$vhx_guest_patience" more_works
	"$vhxctl" device remove "$tmp/be.ctl" more || fail "disk $n can't be removed"
	wait_for "the end of disk $n at the backend" "$vhx_patience" more_gone
	wait_guest "^GONE $n"
done
ivshmem_end
guest_said '^HOTPLUGGED' || fail "the guest did not come to its end"
guest_said '^RESETS [1-9]' || fail "no unit was reset"
! guest_said FIRST-DISK-FAILED || fail "the other disk of the channel was hurt"
echo "$rounds disks came and went"

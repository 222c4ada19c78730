#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# A window's device is unplugged under load: its disk goes and nothing hangs; the disk behind another
# window of the same guest stays, and goes on.
# shellcheck source=ivshmem.sh
. "$(dirname "$0")/ivshmem.sh"
need python3 python3
make_image "$tmp/disk.img" 32M
make_image "$tmp/disk2.img" 16M
start backend2 "$vhx_backend" --listen "unix:$tmp/be2.sock" --device "blk,id=other,file=$tmp/disk2.img"
wait_listening backend2 "$tmp/be2.sock"
start ivshmem2 "$vhx_ivshmem" --connect "unix:$tmp/be2.sock" --qemu "$tmp/iv2.sock,size=1M"
wait_listening ivshmem2 "$tmp/iv2.sock"
cat >"$tmp/run" <<'GUEST'
wait_disk vdb
gone=vda stays=vdb
[ "$(cat /sys/block/vda/size)" = 65536 ] || gone=vdb stays=vda
load() {
	while dd "if=/dev/$1" of=/dev/null bs=64k iflag=direct 2>/dev/null && [ ! -e /tmp/stop ]; do
		:
	done
}
load $gone &
lost=$!
load $stays &
echo READY
wait $lost
until [ ! -e /dev/$gone ]; do sleep 0.1; done
# It works still, with all that was written to it.
head -c 1048576 /dev/urandom >/tmp/data
dd if=/tmp/data of=/dev/$stays bs=64k conv=fsync 2>/dev/null || exit 2
dd if=/dev/$stays bs=64k count=16 iflag=direct 2>/dev/null | cmp - /tmp/data || exit 3
: >/tmp/stop
wait
[ "$(ls /sys/class/hmx | wc -l)" = 1 ] || exit 4
echo UNPLUGGED
GUEST
ivshmem_boot "$tmp/run" --monitor "$tmp/qmp.sock" --ivshmem "$tmp/iv2.sock"
wait_guest '^READY'
wait_moved "requests before the device is unplugged"
qmp device_del id=iv0 --wait DEVICE_DELETED >/dev/null
ivshmem_end
stop ivshmem2
stop backend2
guest_said '^UNPLUGGED' || fail "the guest did not see it go"

#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# The driver comes and goes while QEMU, helper and backend stay: its modules are unloaded and loaded again, and it is
# taken off its device, in the middle of a load. Each time the window is used by a new life.
# shellcheck source=ivshmem.sh
. "$(dirname "$0")/ivshmem.sh"
make_image "$tmp/disk.img" 32M
cat >"$tmp/run" <<'GUEST'
set -e
head -c 4194304 /dev/urandom >/tmp/data
dd if=/tmp/data of=/dev/vda bs=1M conv=fsync 2>/dev/null
check() {
	wait_disk vda
	dd if=/dev/vda bs=1M count=4 iflag=direct 2>/dev/null | cmp - /tmp/data
}
# load_start: reads until there is nothing to read any more.
load_start() {
	(while dd if=/dev/vda of=/dev/null bs=4k iflag=direct 2>/dev/null; do :; done) &
	load=$!
	until [ "$(awk "{ print \$1 }" /sys/block/vda/stat)" -gt 300 ]; do
		sleep 0.1
	done
}
for n in 1 2 3; do
	load_start
	rmmod hmx_ivshmem
	wait $load
	[ ! -e /dev/vda ]
	insmod /driver/hmx_ivshmem.ko
	check
done
rmmod hmx_ivshmem
rmmod hmx_window
rmmod virtio_hmx
insmod /driver/virtio_hmx.ko
insmod /driver/hmx_window.ko
insmod /driver/hmx_ivshmem.ko
check
cd /sys/bus/pci/drivers/hmx_ivshmem
dev=$(ls -d 0000:*)
for n in 1 2 3; do
	load_start
	echo "$dev" >unbind
	wait $load
	[ ! -e /dev/vda ]
	echo "$dev" >bind
	check
done
cd /
echo RELOADED
GUEST
ivshmem_boot "$tmp/run"
ivshmem_end
guest_said '^RELOADED' || fail "the guest did not come to its end"

#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# The image grows while the guest runs: the guest sees the new size without a reboot, and can use it.
# shellcheck source=ivshmem.sh
. "$(dirname "$0")/ivshmem.sh"
make_image "$tmp/disk.img" 32M
cat >"$tmp/run" <<'GUEST'
[ "$(cat /sys/block/vda/size)" = 65536 ] || { echo "size $(cat /sys/block/vda/size)"; exit 1; }
echo READY
until [ "$(cat /sys/block/vda/size)" = 131072 ]; do
	sleep 0.1
done
echo GROWN
head -c 65536 /dev/urandom >/tmp/data
dd if=/tmp/data of=/dev/vda bs=64k seek=1000 conv=fsync 2>/dev/null || exit 3
echo 3 >/proc/sys/vm/drop_caches
dd if=/dev/vda bs=64k skip=1000 count=1 2>/dev/null | cmp - /tmp/data || exit 4
echo "SUM $(sha256sum </tmp/data | cut -d" " -f1)"
GUEST
ivshmem_boot "$tmp/run"
wait_guest '^READY'
truncate -s 64M "$tmp/disk.img"
ivshmem_end
host=$(dd if="$tmp/disk.img" bs=64k skip=1000 count=1 2>/dev/null | sha256sum | cut -d' ' -f1)
assert_eq "what the guest wrote past the old end" "$host" \
	"$(sed -n 's/\r//g; s/^SUM //p' "$tmp/guest.log")"

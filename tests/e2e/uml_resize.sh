#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# The image grows while the guest runs: the guest sees the new size without a reboot, and can use it.
# shellcheck source=../lab/lib.sh
. "$(dirname "$0")/../lab/lib.sh"
need_programs
need_uml
make_image "$tmp/disk.img" 32M
cat >"$tmp/script" <<'GUEST'
[ "$(cat /sys/block/vda/size)" = 65536 ] || { echo "size $(cat /sys/block/vda/size)"; exit 1; }
echo READY
n=0
while [ "$(cat /sys/block/vda/size)" != 131072 ]; do
	n=$((n + 1))
	[ $n -lt 600 ] || { echo "still $(cat /sys/block/vda/size)"; exit 2; }
	sleep 0.1
done
echo GROWN
head -c 65536 /dev/urandom >/tmp/data
dd if=/tmp/data of=/dev/vda bs=64k seek=1000 conv=fsync 2>/dev/null || exit 3
echo 3 >/proc/sys/vm/drop_caches
dd if=/dev/vda bs=64k skip=1000 count=1 2>/dev/null | cmp - /tmp/data || exit 4
echo "SUM $(sha256sum </tmp/data | cut -d' ' -f1)"
GUEST
start_backend
start_frontend
boot uml --disk "$tmp/vm.sock" --script "$tmp/script"
wait_guest '^READY'
truncate -s 64M "$tmp/disk.img"
guest_ok
stop frontend
stop backend
host=$(dd if="$tmp/disk.img" bs=64k skip=1000 count=1 2>/dev/null | sha256sum | cut -d' ' -f1)
assert_eq "what the guest wrote past the old end" "$host" \
	"$(sed -n 's/\r//g; s/^SUM //p' "$tmp/guest.log")"

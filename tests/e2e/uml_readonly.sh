#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# A read-only disk: the guest's kernel knows, writes fail in the guest, the image keeps every bit.
# shellcheck source=../lab/lib.sh
. "$(dirname "$0")/../lab/lib.sh"
need_programs
need_uml
make_image "$tmp/disk.img" 32M ext4
before=$(sha256sum <"$tmp/disk.img")
chmod a-w "$tmp/disk.img"
cat >"$tmp/script" <<'GUEST'
[ "$(cat /sys/block/vda/ro)" = 1 ] || { echo "not read-only"; exit 1; }
mount -t ext4 -o ro /dev/vda /mnt || exit 2
ls /mnt/lost+found >/dev/null || exit 3
umount /mnt
dd if=/dev/zero of=/dev/vda bs=4096 count=1 conv=fsync 2>/dev/null && { echo "written!"; exit 4; }
dd if=/dev/vda of=/dev/null bs=1M 2>/dev/null || exit 5
GUEST
start_backend --device "blk,id=disk0,file=$tmp/disk.img,readonly"
start_frontend
boot uml --disk "$tmp/vm.sock" --script "$tmp/script"
guest_ok
stop frontend
stop backend
assert_eq "the image's checksum" "$(sha256sum <"$tmp/disk.img")" "$before"

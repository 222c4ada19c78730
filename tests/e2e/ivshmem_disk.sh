#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# The whole way of a disk over a window: the guest writes a tree, mounts again and compares; QEMU and the
# backend meanwhile have nothing in common but the window; then the host checks the image.
# shellcheck source=ivshmem.sh
. "$(dirname "$0")/ivshmem.sh"
need debugfs e2fsprogs
make_image "$tmp/disk.img" 128M ext4
ivshmem_boot "$vhx_lab/guest/tree.sh" --append vhx_hold=1
wait_guest '^HOLD'
# shared PID: the files that a process maps shared, by inode, and their names.
shared() { awk '$2 ~ /s$/ && $5 != 0 { print $5, $6 }' "/proc/$1/maps" | sort -u; }
common=$(comm -12 <(shared "$(cat "$tmp/guest.pid")") <(shared "${daemon_pid[backend]}"))
assert_match "what QEMU and the backend share" "$common" '^[0-9]+ /memfd:vhx-window$'
assert_eq "files that QEMU and the backend share" "$(wc -l <<<"$common")" 1
say go
ivshmem_end
check_image "$tmp/disk.img" "$tmp/guest.log"

#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# A stock Debian system whose root disk is served through a window: its initramfs is the example's. It has
# to come up, write to its disk and go down; the image is sound then and has what was written.
# shellcheck source=../lab/lib.sh
. "$(dirname "$0")/../lab/lib.sh"
need_programs
need_kernel 6.1
made "the Debian system" "$vhx_lab/rootfs.sh"
cp --sparse=always "$made" "$tmp/disk.img"
: >"$tmp/none"
start_backend
start_ivshmem
boot_driver --private --mem 384M --ivshmem "$tmp/iv.sock" --script "$tmp/none" \
	--add "$vhx_root/examples/initramfs-hmx/init" --append "root=/dev/vda"
guest_ok
guest_said '^DEBIAN .* / is /dev/vda ext4' || fail "the guest did not say what its root is"
stop ivshmem
stop backend
check_image "$tmp/disk.img" "$tmp/guest.log"

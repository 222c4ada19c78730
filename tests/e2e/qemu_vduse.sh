#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# A guest whose own kernel is the driver's side (VDUSE): backend and frontend run in it, and their disks and their
# network interface appear in it. Debian's 6.12, because no kernel that the tests run on can be expected to have VDUSE.
# shellcheck source=../lab/lib.sh
. "$(dirname "$0")/../lab/lib.sh"
need_programs
need vdpa iproute2
need ip iproute2
need fio fio
need mkfs.ext4 e2fsprogs
need_qemu 6.12
programs=()
for p in "$vhx_backend" "$vhx_frontend" "$vhxctl" "$(command -v vdpa)" "$(command -v ip)" \
	"$(command -v mkfs.ext4)" "$(command -v e2fsck)"; do
	programs+=(--program "$p")
done
boot qemu --kernel 6.12 --mem 768M --private --smp 2 --fio --add "$vhx_lab/guest/tree.sh" \
	--script "$vhx_lab/guest/vduse.sh" "${programs[@]}"
guest_ok
for said in DISKS TREE GROWN 'KILLED [1-9]' AGAIN NET ENDS; do
	guest_said "^VDUSE-$said" || fail "the guest did not say VDUSE-$said"
done

#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# A guest whose own kernel is the driver's side (VDUSE): backend and frontend run in it, and their disks and their
# network interface appear in it. And a backend that bridges vDPA devices there: of our own frontend, of
# qemu-storage-daemon, and those that the kernel simulates. Debian's 6.12, because no kernel that the tests run on can be
# expected to have VDUSE.
# shellcheck source=../lab/lib.sh
. "$(dirname "$0")/../lab/lib.sh"
need_programs
need vdpa iproute2
need ip iproute2
need fio fio
need qemu-storage-daemon qemu-system-common
need mkfs.ext4 e2fsprogs
need_qemu 6.12
# Without the simulator the rest is tried all the same, before the reason is given.
sim=$("$vhx_lab/vdpa-sim.sh" 2>"$tmp/made.log")
case $? in
0) missing='' ;;
77) missing=$(tail -n 1 "$tmp/made.log") ;;
*) fail "the simulator can't be made" ;;
esac
said=(VDUSE-{DISKS,TREE,GROWN,'KILLED [1-9]',AGAIN,NET,ENDS} VDPA-{ROUND,KILLED,GROWN,QSD,HANG})
modules=()
if [ -z "$missing" ]; then
	said+=(VDPA-SIM-{DISK,KILLED,NET,ENDS})
	for m in "$sim"/*.ko; do
		modules+=(--add "$m")
	done
fi
programs=()
for p in "$vhx_backend" "$vhx_frontend" "$vhxctl" "$(command -v vdpa)" "$(command -v ip)" \
	"$(command -v mkfs.ext4)" "$(command -v e2fsck)" "$(command -v qemu-storage-daemon)"; do
	programs+=(--program "$p")
done
boot qemu --kernel 6.12 --mem 768M --private --smp 2 --fio --add "$vhx_lab/guest/tree.sh" \
	--add "$vhx_lab/guest/vdpa.sh" --add "$vhx_lab/guest/vdpa-sim.sh" ${modules[@]+"${modules[@]}"} \
	--script "$vhx_lab/guest/vduse.sh" "${programs[@]}"
guest_ok
for s in "${said[@]}"; do
	guest_said "^$s" || fail "the guest did not say $s"
done
[ -z "$missing" ] || skip "all but simulated vDPA devices passed; $missing"

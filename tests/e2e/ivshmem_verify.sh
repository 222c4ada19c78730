#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# A verify load over a window, on the newer kernel with two processors, ends without a mismatch; the older one has it
# with kills. VHX_VERIFY_SECONDS (torture: 600) makes it go on.
VHX_KERNEL=${VHX_KERNEL:-6.12}
# shellcheck source=ivshmem.sh
. "$(dirname "$0")/ivshmem.sh"
seconds=${VHX_VERIFY_SECONDS:-0}
[ -z "${VHX_TORTURE:-}" ] || seconds=${VHX_VERIFY_SECONDS:-600}
need fio fio
make_image "$tmp/disk.img" 64M
if [ "$seconds" -gt 0 ]; then
	vhx_guest_patience=$((seconds * 3 + 300))
	ivshmem_boot "$vhx_lab/guest/verify.sh" --fio --mem 384M --smp 2 --append vhx_until=word
	wait_guest '^VERIFY-START'
	end=$((SECONDS + seconds))
	while [ $SECONDS -lt $end ] && alive guest-run; do
		sleep 1
	done
	say stop
else
	ivshmem_boot "$vhx_lab/guest/verify.sh" --fio --mem 384M --smp 2 --append 'vhx_passes=2 vhx_size=24'
fi
ivshmem_end
guest_said '^VERIFY-DONE [1-9]' || fail "the guest verified nothing"
grep -a '^VERIFY-DONE' "$tmp/guest.log"

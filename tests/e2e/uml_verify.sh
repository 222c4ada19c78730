#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# A verify load in the guest ends without a mismatch. VHX_VERIFY_SECONDS (torture: 600) makes it go on.
# shellcheck source=../lab/lib.sh
. "$(dirname "$0")/../lab/lib.sh"
seconds=${VHX_VERIFY_SECONDS:-0}
[ -z "${VHX_TORTURE:-}" ] || seconds=${VHX_VERIFY_SECONDS:-600}
need_programs
need_uml
need fio fio
make_image "$tmp/disk.img" 64M
start_backend
start_frontend
if [ "$seconds" -gt 0 ]; then
	vhx_guest_patience=$((seconds * 3 + 300))
	boot uml --fio --mem 384M --disk "$tmp/vm.sock" --script "$vhx_lab/guest/verify.sh" \
		--append vhx_until=word
	wait_guest '^VERIFY-START'
	end=$((SECONDS + seconds))
	while [ $SECONDS -lt $end ] && alive guest-run; do
		sleep 1
	done
	say stop
else
	boot uml --fio --mem 384M --disk "$tmp/vm.sock" --script "$vhx_lab/guest/verify.sh" \
		--append vhx_passes=3
fi
guest_ok
guest_said '^VERIFY-DONE [1-9]' || fail "the guest verified nothing"
guest_said '^VERIFY-DONE .*' && grep -a '^VERIFY-DONE' "$tmp/guest.log"
stop frontend
stop backend

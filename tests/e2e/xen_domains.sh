#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# VirtIO-Argo on Xen: a PV and a PVH domU whose numbers change, by reboots, by being saved and restored, and backends that
# serve all who come, or follow names and UUIDs. And what programs of a partner domain can spoil.
# shellcheck source=../lab/lib.sh
. "$(dirname "$0")/../lab/lib.sh"
need_programs
need_xen
boot xen --argo 1,mac-permissive=1 --modules "$driver_modules" --program "$vhx_backend" --program "$vhxctl" \
	--program "$vhx_build/tests/lab/argo-junk" \
	--add "$vhx_lab/guest/xen-vhx.sh" --script "$vhx_lab/guest/xen-domains.sh"
# Under emulation a PVH domain that was restored costs Xen a timer's interrupt now and then, and all of the machine sleeps
# until another one comes: that of the serial line does.
wait_guest '^PVH-RESTORE'
while alive guest-run && ! guest_said '^GUEST-EXIT'; do
	say ""
	sleep 3
done
guest_ok
guest_said '^XEN-DOMAINS-DONE' || fail "the script did not come to its end"
sed 's/\r//g' "$tmp/guest.log" | sed -n 's/^DOMAINS //p'

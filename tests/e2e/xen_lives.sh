#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# VirtIO-Argo on Xen: backend, module, domU end and come back, and leave nothing behind. VHX_TORTURE: 100 domUs.
# shellcheck source=../lab/lib.sh
. "$(dirname "$0")/../lab/lib.sh"
need_programs
need_xen
echo "$((${VHX_TORTURE:-0} ? 100 : 10))" >"$tmp/rounds"
boot xen --modules "$driver_modules" --program "$vhx_backend" --program "$vhxctl" --add "$tmp/rounds" \
	--add "$vhx_lab/guest/xen-vhx.sh" --script "$vhx_lab/guest/xen-lives.sh"
guest_ok
guest_said '^XEN-LIVES-DONE' || fail "the script did not come to its end"
sed 's/\r//g' "$tmp/guest.log" | grep -E '^(backend killed|module in|rebooted|[0-9]+ domUs)'

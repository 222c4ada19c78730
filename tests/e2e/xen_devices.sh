#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# VirtIO-Argo on Xen: PV and PVH domUs on disks that dom0 serves, and what that takes of the hypervisor. Then programs
# of these domains, which speak to each other by libvhx-argo.
# shellcheck source=../lab/lib.sh
. "$(dirname "$0")/../lab/lib.sh"
need_programs
need_xen
boot xen --modules "$driver_modules" --program "$vhx_backend" --program "$vhxctl" --program "$vhx_argo_cat" \
	--add "$vhx_lab/guest/xen-vhx.sh" --add "$vhx_lab/guest/tree.sh" --script "$vhx_lab/guest/xen-devices.sh"
guest_ok
sed 's/\r//g' "$tmp/guest.log" | sed -n 's/^DEMO //p'
guest_said '^XEN-DEVICES-DONE' || fail "the script did not come to its end"

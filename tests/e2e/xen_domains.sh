#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# The lab's Xen: dom0, a PV and a PVH domU.
# shellcheck source=../lab/lib.sh
. "$(dirname "$0")/../lab/lib.sh"
need_xen
boot xen --script "$vhx_lab/guest/xen-domains.sh"
guest_ok
echo "PV and PVH domUs boot, answer, reboot and end"

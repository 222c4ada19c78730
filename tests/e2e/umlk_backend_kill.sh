#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# The backend of the guest's driver is killed with -9 with requests in flight, again and again, and started anew:
# writers to a disk and a file system on a SCSI disk notice a pause only, nothing is lost, and no request fails.
# VHX_TORTURE=1 makes it long.
# shellcheck source=hmx.sh
. "$(dirname "$0")/hmx.sh"
need e2fsck e2fsprogs
kills=${VHX_KILLS:-4}
[ -z "${VHX_TORTURE:-}" ] || kills=${VHX_KILLS:-40}
hmx_run hmx-kill.sh --append "vhx_kills=$kills" --add "$vhx_lab/guest/tree.sh" \
	--program "$(PATH=$PATH:/sbin command -v e2fsck)"

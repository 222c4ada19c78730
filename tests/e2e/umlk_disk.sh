#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# A file system on a disk of the guest's driver: what was written is what a mount of the image finds. Single
# requests cost a message each, and written bytes are sent from where they lie. On the same channel a network interface:
# pings, bytes both ways, resizes of its rings under load; sockets (vsock); a folder of virtiofsd's; and another backend.
# shellcheck source=hmx.sh
. "$(dirname "$0")/hmx.sh"
need ethtool ethtool
need socat socat
need_file /usr/lib/qemu/virtiofsd qemu-system-common
hmx_run hmx-disk.sh --add "$vhx_lab/guest/tree.sh" --add "$vhx_lab/guest/hmx-net.sh" \
	--add "$vhx_lab/guest/hmx-fs.sh" --program /usr/lib/qemu/virtiofsd \
	--program "$(PATH=$PATH:/sbin command -v ethtool)" --program "$(command -v socat)"

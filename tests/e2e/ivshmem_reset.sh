#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# The virtual machine is reset under load: no driver says goodbye. The kernel that boots next finds the
# window as the last one left it, begins a life of its own, and has its disk and what was flushed to it.
# shellcheck source=ivshmem.sh
. "$(dirname "$0")/ivshmem.sh"
need python3 python3
make_image "$tmp/disk.img" 32M
# The first sectors say which boot this is.
cat >"$tmp/run" <<'GUEST'
set -e
boots=$(dd if=/dev/vda bs=512 count=1 2>/dev/null | tr -d "\0" | cut -c 1-4)
boots=$((${boots:-0} + 1))
if [ "$boots" -gt 1 ]; then
	dd if=/dev/vda bs=1M skip=1 count=4 2>/dev/null | sha256sum | cut -d" " -f1 >/tmp/found
	dd if=/dev/vda bs=512 skip=1 count=1 2>/dev/null | tr -d "\0" >/tmp/wanted
	[ "$(cat /tmp/found)" = "$(cat /tmp/wanted)" ]
fi
head -c 4194304 /dev/urandom >/tmp/data
dd if=/tmp/data of=/dev/vda bs=1M seek=1 conv=notrunc,fsync 2>/dev/null
printf "%-512s%-512s" "$boots" "$(sha256sum </tmp/data | cut -d" " -f1)" | tr " " "\0" >/tmp/head
dd if=/tmp/head of=/dev/vda bs=1k conv=notrunc,fsync 2>/dev/null
echo "BOOT $boots"
[ "$boots" -lt 3 ] || exit 0
while :; do
	dd if=/dev/vda of=/dev/null bs=64k iflag=direct 2>/dev/null
done
GUEST
ivshmem_boot "$tmp/run" --monitor "$tmp/qmp.sock" --reboot
for n in 1 2; do
	wait_guest "^BOOT $n"
	wait_moved "requests before reset $n"
	qmp system_reset >/dev/null
done
ivshmem_end
guest_said '^BOOT 3' || fail "the guest did not come to its end"

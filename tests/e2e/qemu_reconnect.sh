#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# The frontend dies under QEMU (reconnect=1) and is started again: the guest's I/O stalls and goes on.
# shellcheck source=../lab/lib.sh
. "$(dirname "$0")/../lab/lib.sh"
need_programs
need_qemu
make_image "$tmp/disk.img" 64M
cat >"$tmp/script" <<'GUEST'
dd if=/dev/urandom of=/tmp/data bs=1M count=16 2>/dev/null
(read -r word; : >/tmp/stop) </dev/console &
echo START
n=0
while ! [ -e /tmp/stop ]; do
	n=$((n + 1))
	dd if=/tmp/data of=/dev/vda bs=64k oflag=direct 2>/dev/null || { echo "write $n failed"; exit 1; }
	dd if=/dev/vda bs=64k count=256 iflag=direct 2>/dev/null | cmp - /tmp/data ||
		{ echo "read $n differs"; exit 2; }
	echo "ROUND $n"
done
if dmesg | grep -E 'I/O error'; then exit 3; fi
echo "SUM $(sha256sum </tmp/data | cut -d' ' -f1)"
GUEST
rounds() { sed -n 's/\r//g; s/^ROUND //p' "$tmp/guest.log" | tail -n 1; }
further() { [ "$(rounds)" -ge "$1" ]; }
start_backend
start_frontend
boot qemu --disk "$tmp/vm.sock" --reconnect 1 --script "$tmp/script"
wait_guest '^ROUND'
for n in 1 2 3; do
	crash frontend
	sleep 0.5
	seen=$(rounds)
	start_frontend
	# The first round may have been under way: two more have crossed the new frontend whole.
	wait_for "I/O after restart $n" "$vhx_guest_patience" further $((seen + 2))
done
say stop
guest_ok
stop frontend
stop backend
assert_eq "the image" "$(head -c 16M "$tmp/disk.img" | sha256sum | cut -d' ' -f1)" \
	"$(sed -n 's/\r//g; s/^SUM //p' "$tmp/guest.log")"

#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Two disks of one backend in one guest: each keeps its own data, and its own serial number.
# shellcheck source=../lab/lib.sh
. "$(dirname "$0")/../lab/lib.sh"
need_programs
need_uml
make_image "$tmp/a.img" 32M
make_image "$tmp/b.img" 48M
cat >"$tmp/script" <<'GUEST'
size() { cat "/sys/block/$1/size"; }
# The names follow the order of probing: the serial number tells the disks apart.
for d in vda vdb; do
	echo "DISK $(cat /sys/block/$d/serial) $(size $d)"
	dd if=/dev/urandom of=/tmp/$d bs=1M count=12 2>/dev/null
done
dd if=/tmp/vda of=/dev/vda bs=64k conv=fsync 2>/dev/null &
dd if=/tmp/vdb of=/dev/vdb bs=64k conv=fsync 2>/dev/null || exit 1
wait $! || exit 2
for d in vda vdb; do
	echo "SUM $(sha256sum </tmp/$d | cut -d' ' -f1) $(cat /sys/block/$d/serial)"
done
GUEST
start_backend --device "blk,id=first,file=$tmp/a.img,serial=serial-a" \
	--device "blk,id=second,file=$tmp/b.img,serial=serial-b"
start_frontend --vhost-user "$tmp/vm.sock,id=first" --vhost-user "$tmp/vm2.sock,id=second"
wait_listening frontend "$tmp/vm2.sock"
boot uml --disk "$tmp/vm.sock" --disk "$tmp/vm2.sock" --script "$tmp/script"
guest_ok
stop frontend
stop backend
guest_said '^DISK serial-a 65536$' || fail "no disk with serial-a and 32 MiB"
guest_said '^DISK serial-b 98304$' || fail "no disk with serial-b and 48 MiB"
for x in a b; do
	guest=$(sed -n "s/\r//g; s/^SUM \(.*\) serial-$x\$/\1/p" "$tmp/guest.log")
	assert_eq "disk $x" "$(head -c 12M "$tmp/$x.img" | sha256sum | cut -d' ' -f1)" "$guest"
done

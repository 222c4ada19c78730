#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# A stock guest under QEMU reads /dev/hwrng: as many bytes as the quota allows, and the rest when another backend
# takes the place of a killed one. Beside it a socket device, of which QEMU keeps the event queue for itself: bytes there
# and back, before and after. And a SCSI disk, of which QEMU keeps the config space for itself: a file system that is
# written and read back past the cache all the while, so that the death of the backend finds commands in flight.
# shellcheck source=../lab/lib.sh
. "$(dirname "$0")/../lab/lib.sh"
need_programs
need_qemu 6.1
need socat socat
need python3 python3
need debugfs e2fsprogs
make_image "$tmp/0.img" 48M ext4
make_image "$tmp/1.img" 8M

# No period ends within the test. The guest's kernel takes its share of this, too.
quota=8192

cat >"$tmp/run.sh" <<'GUEST'
modprobe virtio_rng || exit 1
echo "RNG $(cat /sys/class/misc/hw_random/rng_current)"
[ -c /dev/hwrng ] || mknod /dev/hwrng c 10 183
# read_bytes N: prints how many different byte values are among them.
read_bytes() {
	dd if=/dev/hwrng of=/tmp/r bs=1 count="$1" 2>/dev/null || exit 1
	[ "$(wc -c </tmp/r)" -eq "$1" ] || exit 1
	echo "DIFFERENT $(hexdump -v -e '1/1 "%02x\n"' /tmp/r | sort -u | wc -l)"
}
read_bytes 4096
echo FIRST-READ
modprobe vmw_vsock_virtio_transport || exit 1
head -c 300000 /dev/urandom >/tmp/bytes
echo "SUM $(sha256sum </tmp/bytes)"
echo_back() {
	socat -t 300 - VSOCK-CONNECT:2:1000 </tmp/bytes >/tmp/back && cmp /tmp/bytes /tmp/back || exit 1
}
echo_back
modprobe virtio_scsi && modprobe sd_mod || exit 1
until [ -b /dev/sda ] && [ -b /dev/sdb ]; do sleep 0.1; done
# unit N: units may have any name.
unit() {
	basename "$(echo /sys/bus/scsi/devices/*:0:0:"$1"/block/sd?)"
}
[ "$(cat "/sys/block/$(unit 1)/ro")" = 1 ] || exit 1
mount -t ext4 "/dev/$(unit 0)" /mnt || exit 1
write_back() {
	cp /tmp/bytes "/mnt/$1" && sync && echo 3 >/proc/sys/vm/drop_caches && cmp /tmp/bytes "/mnt/$1"
}
write_back first || exit 1
(
	while [ ! -e /tmp/enough ]; do
		write_back "again$((n = (n + 1) % 16))" || exit 1
	done
) &
load=$!
echo DEVICES-FIRST
# More than is left: waits until another backend comes.
read_bytes 8192
echo SECOND-READ
echo_back
touch /tmp/enough
wait $load || exit 1
write_back last && umount /mnt && echo DISK-LAST
# QEMU's config space speaks of 256 targets with 16384 units each.
echo "UNITS $(ls /sys/class/scsi_device | wc -l)"
exit 0
GUEST

others=(--device "vsock,id=v0,uds-path=$tmp/v" --device "scsi,id=s0,lun0=$tmp/0.img,lun1=$tmp/1.img,readonly1")
start_backend --device "rng,id=r0,max-bytes=$quota,period=86400000" "${others[@]}"
start_frontend --vhost-user "$tmp/vm.sock,id=r0" --vhost-user "$tmp/vs.sock,id=v0" --vhost-user "$tmp/disks.sock,id=s0"
wait_listening frontend "$tmp/vs.sock"
wait_listening frontend "$tmp/disks.sock"
start echo timeout --signal=KILL "$vhx_guest_patience" python3 "$vhx_root/tests/e2e/vsock.py" echo "$tmp/v_1000" 2
boot qemu --device "rng:$tmp/vm.sock" --device "vsock:$tmp/vs.sock" --device "scsi:$tmp/disks.sock" \
	--script "$tmp/run.sh" --program "$(command -v socat)"
wait_guest '^DEVICES-FIRST'
assert_match "the guest's generator" "$(sed 's/\r//g' "$tmp/guest.log")" '^RNG virtio_rng\.0'

quota_used() {
	[ "$(stats "$tmp/be.ctl" "s['devices'][0]['bytes_in']")" = $quota ]
}
wait_for "the quota to be used up" "$vhx_patience" quota_used
# Nothing more comes, and one request waits.
assert_eq "requests that wait" \
	"$(stats "$tmp/be.ctl" "s['devices'][0]['requests'] - s['devices'][0]['completed']")" 1
guest_said '^SECOND-READ' && fail "the guest read more than the quota"

# A killed backend takes its own device along; the request that waited is sent to the next one. So are SCSI commands.
in_flight() { [ "$(stats "$tmp/fe.ctl" "s['devices'][2]['requests'] > s['devices'][2]['completed'] + 8")" = True ]; }
kill -STOP "${daemon_pid[backend]}"
wait_for "commands in flight" "$vhx_guest_patience" in_flight
crash backend
start_backend --device rng,id=r0 "${others[@]}"
wait_guest '^SECOND-READ'
guest_ok
finish echo || fail "the host's program: $(tail -n 1 "$tmp/echo.log")"
grep -a '^DIFFERENT' "$tmp/guest.log" | tr -d '\r' | while read -r _ cnt; do
	[ "$cnt" -ge 250 ] || fail "only $cnt different byte values"
done || exit 1
assert_eq "requests sent again" "$(stats "$tmp/fe.ctl" "s['devices'][0]['replays']")" 1
guest_said '^DISK-LAST' || fail "the guest could not write to its disk at the end"
guest_said '^UNITS 2$' || fail "the guest sees other units than the two"
[ "$(stats "$tmp/fe.ctl" "s['devices'][2]['replays']")" -gt 8 ] || fail "no command was sent again"
e2fsck -fn "$tmp/0.img" >"$tmp/e2fsck.log" 2>&1 || fail "e2fsck finds errors"
sum=$(sed -n 's/^SUM \([0-9a-f]\{64\}\).*/\1/p' "$tmp/guest.log")
for f in first last; do
	assert_eq "what the guest wrote $f" "$(debugfs -R "cat /$f" "$tmp/0.img" 2>/dev/null | sha256sum | cut -d' ' -f1)" "$sum"
done
echo "the guest read $quota bytes, waited for another backend and read on; sockets and disks before and after"

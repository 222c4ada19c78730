# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=dash
# Guest: a backend stops while a request waits for it. Nobody tells; the driver asks, and in the end begins a
# new life, in which the request is answered.
# shellcheck source=hmx.sh
. /hmx.sh
truncate -s 16M /tmp/disk.img
head -c 4194304 /dev/urandom >/tmp/bytes
dd if=/tmp/bytes of=/tmp/disk.img conv=notrunc 2>/dev/null
backend_start
relay_start
wait_for /dev/vda [ -b /dev/vda ]
wait_for "a running disk" state_is disk0 running
pings=$(value channel pings)
kill -STOP "$backend"
dd if=/dev/vda of=/tmp/read bs=4k skip=3 count=1 iflag=direct 2>/dev/null &
reader=$!
wait_for "PING" at_least channel pings $((pings + 3))
wait_for "the end of this life" grep -Eq '^state (waiting|opening|hello)' "$hmx/channel"
dmesg | grep -q 'the backend is silent' || fail "the driver did not say why"
kill -CONT "$backend"
wait "$reader" || fail "the read failed"
dd if=/tmp/bytes bs=4k skip=3 count=1 2>/dev/null | cmp - /tmp/read || fail "wrong bytes"
[ "$(value devices/disk0 queue0_errors)" -eq 0 ] || fail "a request ended with an error"
echo "SILENT-DONE $(value channel pings) pings"

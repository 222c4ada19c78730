#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# A guest migrates between two QEMUs under a verify load, each with a frontend and a backend of its own on the same
# image. The source's backend dies on the way, and the destination's after it. When the guest has come over, and
# before it goes on, the memory of both is the same to the byte. No instruction of the guest writes to the buffer of
# disk-reread, so what of it reaches the other side was in our dirty log. A used ring was not, on the other hand: QEMU
# marks all of it when it stops the device; its marks are held by tests/unit/ring/test_events.c.
# shellcheck source=../lab/lib.sh
. "$(dirname "$0")/../lab/lib.sh"
need_programs
need_qemu 6.1
mem=128
make_image "$tmp/disk.img" 64M

# side a|b: a backend and a frontend.
start_side_backend() {
	start "backend-$1" "$vhx_backend" --listen "unix:$tmp/be-$1.sock" --control "$tmp/be-$1.ctl" \
		--device "blk,id=disk0,file=$tmp/disk.img,handover"
	wait_listening "backend-$1" "$tmp/be-$1.sock"
}
start_side() {
	start_side_backend "$1"
	start "frontend-$1" "$vhx_frontend" --connect "unix:$tmp/be-$1.sock" --control "$tmp/fe-$1.ctl" \
		--vhost-user "$tmp/vm-$1.sock,id=disk0"
	wait_listening "frontend-$1" "$tmp/vm-$1.sock"
}
# qemu a|b OPTION...
start_qemu() {
	local side=$1
	shift
	mkfifo "$tmp/console-$side"
	start "qemu-$side" "$vhx_lab/qemu.sh" --quiet --log "$tmp/guest-$side.log" --stdin "$tmp/console-$side" \
		--timeout "$vhx_guest_patience" --mem ${mem}M --disk "$tmp/vm-$side.sock" \
		--script "$vhx_lab/guest/copies.sh" --program "$vhx_build/tests/lab/disk-reread" \
		--monitor "$tmp/qmp-$side.sock" "$@"
}
monitor() {
	python3 "$vhx_lab/qmp.py" "$tmp/qmp-$1.sock" "${@:2}"
}
completed() { stats "$tmp/fe-$1.ctl" "s['devices'][0]['completed']"; }
moved_on() { [ "$(completed "$1")" -gt "$2" ]; }
said() { sed 's/\r//g' "$tmp/guest-$1.log" | grep -Eq -- "$2"; }
# migration EXPRESSION: of Python, over what QEMU says of the migration, named m.
migration() {
	monitor a query-migrate | python3 -c 'import json, sys
m = json.load(sys.stdin)
sys.exit(not eval(sys.argv[1]))' "$1"
}
bandwidth() {
	monitor a migrate-set-parameters "max-bandwidth:=$1" downtime-limit:=0 >/dev/null || fail "no bandwidth of $1"
}

start_side a
start_side b
start_qemu a
wait_for 'a first pass' "$vhx_guest_patience" said a '^(PASS|GUEST-EXIT)'
said a '^PASS' || fail 'the guest has ended'
start_qemu b --incoming "unix:$tmp/migrate.sock"
wait_for 'the other QEMU' "$vhx_patience" monitor b query-status

# With no time to stand still in, QEMU copies all memory once while the guest runs, and then, with the guest at rest, what
# was written meanwhile. (With time it would leave most for the end, and prove nothing.) In the middle it gets so slow
# that it can't end.
bandwidth 10000000
monitor a migrate "uri=unix:$tmp/migrate.sock" >/dev/null || fail 'no migration here'
wait_for 'half of the memory' "$vhx_guest_patience" migration \
	"m['status'] != 'active' or m['ram']['remaining'] < $((mem << 19))"
bandwidth 100000
crash backend-a
start_side_backend a
before=$(completed a) || exit 1
wait_for 'requests after the death of a backend' "$vhx_guest_patience" moved_on a $((before + 100))
migration 'm["status"] == "active"' || fail 'the migration ended while its backend was away'
bandwidth 1000000000
wait_for 'the end of the migration' "$vhx_guest_patience" migration 'm["status"] == "completed"'
assert_log backend-a 'disk0: image given back'
assert_no_log backend-b 'image taken'

for side in a b; do
	monitor $side pmemsave val:=0 size:=$((mem << 20)) "filename=$tmp/memory-$side" >/dev/null || fail "no memory of $side"
done
cmp "$tmp/memory-a" "$tmp/memory-b" || fail 'memory differs'
[ "$(tr -d '\0' <"$tmp/memory-a" | wc -c)" -gt 10000000 ] || fail 'there is nothing in that memory'
rm "$tmp"/memory-?
monitor a quit >/dev/null
finish qemu-a
stop frontend-a
stop backend-a

monitor b cont >/dev/null || fail 'it does not go on'
wait_for 'requests at the destination' "$vhx_guest_patience" moved_on b 100
assert_log backend-b 'disk0: image taken'
crash backend-b
start_side_backend b
before=$(completed b) || exit 1
wait_for 'requests after the death of the other backend' "$vhx_guest_patience" moved_on b $((before + 100))
echo stop >"$tmp/console-b"
finish qemu-b $((vhx_guest_patience + 10)) || fail 'the guest met a mismatch'
said b '^VERIFY-DONE [1-9]' || fail 'the guest verified nothing'
stop frontend-b
stop backend-b
for d in backend-a backend-b frontend-a frontend-b; do
	assert_no_log $d 'Sanitizer|runtime error|Assertion|broken'
done
echo "migrated, ${mem} MiB equal, no mismatch"

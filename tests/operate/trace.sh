#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# trace.sh BACKEND LOAD VHXCTL SESSION DISSECTOR: recordings, seen with Wireshark's eyes. SESSION writes one that has
# every message of the protocol; another one is made of a running backend.
set -u
backend=$1 load=$2 vhxctl=$3 session=$4 dissector=$5
# shellcheck source=programs.sh
. "$(dirname "$0")/programs.sh"
command -v tshark >/dev/null || { echo "SKIP: package tshark is missing"; exit 77; }
export HOME=$tmp LC_ALL=C.UTF-8

fail() {
	echo "$1"
	exit 1
}

# shark FILE ARG...
shark() {
	local file=$1
	shift
	tshark -X "lua_script:$dissector" -r "$file" "$@" 2>"$tmp/shark.err" ||
		{ cat "$tmp/shark.err"; exit 1; }
	# Root is warned; any other complaint is one about the dissector.
	! grep -v '^Running as user "root"' "$tmp/shark.err" || exit 1
}

# sound FILE: every message is understood.
sound() {
	local bad
	bad=$(shark "$1" -Y 'vhx.malformed || vhx.unknown || _ws.malformed || _ws.lua.error || !vhx')
	[ -z "$bad" ] || fail "not understood: $bad"
}

for snap in 0 100 4096; do
	"$session" "$tmp/all.pcapng" $snap || fail "no session"
	sound "$tmp/all.pcapng"
done
types=$(shark "$tmp/all.pcapng" -T fields -e vhx.type | sort -un | tr '\n' ' ')
[ "$types" = "1 2 3 4 5 " ] || fail "types: $types"
# Name, id and both ways of each control message.
controls=$(shark "$tmp/all.pcapng" -Y vhx.control -T fields -e vhx.control -e vhx.control.response | sort -u | wc -l)
[ "$controls" -eq 36 ] || fail "$controls control messages"
! shark "$tmp/all.pcapng" -Y vhx.control -T fields -e vhx.control | grep -q '^0x' || fail "nameless"
# The dissector can say no: a byte of a length, changed.
"$session" "$tmp/bad.pcapng" 0
python3 - "$tmp/bad.pcapng" <<'PYTHON'
import sys
data = bytearray(open(sys.argv[1], 'rb').read())
at = data.index(b'\x10\x00\x00\x00' + bytes(0), data.index(b'\x03\x00\x00\x00\x38\x00\x00\x00'))
data[at] = 0xff
open(sys.argv[1], 'wb').write(data)
PYTHON
[ -n "$(shark "$tmp/bad.pcapng" -Y vhx.malformed)" ] || fail "a lie was not noticed"

# A running backend: a payload that would be seen, were it there.
truncate -s 4M "$tmp/img"
yes 'SECRET-OF-THE-GUEST' | head -c 4194304 >"$tmp/img"
"$backend" --listen "unix:$tmp/s" --control "$tmp/c" --log-level error \
	--device "blk,id=d,file=$tmp/img" &
pids+=($!)
until_true "$vhxctl" stats "$tmp/c" --json >"$tmp/stats" 2>&1
record() {
	local name=$1 recorder
	shift
	"$vhxctl" trace "$tmp/c" -w "$tmp/$name" "$@" 2>"$tmp/said" &
	recorder=$!
	# It records once its first blocks are there.
	until_true test -s "$tmp/$name"
	# One at a time.
	"$vhxctl" trace "$tmp/c" -w "$tmp/other" 2>"$tmp/busy"
	[ $? -eq 1 ] || fail "two recorders"
	grep -q busy "$tmp/busy" || fail "two recorders: $(cat "$tmp/busy")"
	"$load" --target "unix:$tmp/s" --depth 8 --run-ms 20 --warmup-ms 0 >/dev/null || fail "no load"
	kill -INT $recorder
	wait $recorder || fail "recorder: $(cat "$tmp/said")"
	sound "$tmp/$name"
}
record headers.pcapng
! grep -aq SECRET "$tmp/headers.pcapng" || fail "payload in a recording of headers"
shark "$tmp/headers.pcapng" -Y 'vhx.control == "ATTACH" && vhx.attach_resp.name == "d"' | grep -q ATTACH ||
	fail "no ATTACH"
[ "$(shark "$tmp/headers.pcapng" -Y 'vhx.type == 3' | wc -l)" -gt 0 ] || fail "no AVAIL"
[ "$(shark "$tmp/headers.pcapng" -Y 'vhx.type == 4 && vhx.chunk.left_out > 4000' | wc -l)" -gt 0 ] || fail "no USED"
record snapped.pcapng --snap 16
grep -aq 'SECRET-OF-THE-GUES' "$tmp/snapped.pcapng" && fail "more than the snap length"
grep -aq 'SECRET-OF' "$tmp/snapped.pcapng" || fail "no payload within the snap length"

# Nobody traces: no memory is kept.
before=$("$vhxctl" stats "$tmp/c" --json)
[ -n "$before" ] || fail "it does not answer any more"
# Requests that make no sense are answered.
python3 - "$tmp/c" <<'PYTHON' || fail "a bad snap length was taken"
import socket, sys
for snap in ('-1', '4097', '"x"', '1e3'):
    s = socket.socket(socket.AF_UNIX)
    s.settimeout(20)
    s.connect(sys.argv[1])
    s.sendall(b'{"command":"trace","snap":%s}\n' % snap.encode())
    assert b'"error"' in s.recv(4096), snap
# A client that vanishes leaves the place to the next.
for _ in range(20):
    s = socket.socket(socket.AF_UNIX)
    s.settimeout(20)
    s.connect(sys.argv[1])
    s.sendall(b'trace\n')
    assert s.recv(4) in (b'\n\r\r\n', b'{"er')
    s.close()
PYTHON
until_true "$vhxctl" trace "$tmp/c" -w "$tmp/last" --seconds 1 2>/dev/null
[ -s "$tmp/last" ]

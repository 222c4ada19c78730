#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# What a user gets wrong: one clear line each, a non-zero exit where nothing can be served, nothing lost.
# shellcheck source=../lab/lib.sh
. "$(dirname "$0")/../lab/lib.sh"
need_programs
make_image "$tmp/disk.img" 8M
listen=(--listen "unix:$tmp/be.sock")

# refused WHAT PATTERN COMMAND...: ends by itself, not with 0 and not by a signal, and says one line.
refused() {
	local what=$1 pattern=$2 rc lines
	shift 2
	timeout --signal=KILL "$vhx_patience" "$@" </dev/null >"$tmp/out" 2>&1
	rc=$?
	[ $rc -ne 0 ] || fail "$what: accepted"
	[ $rc -lt 124 ] || fail "$what: status $rc: $(cat "$tmp/out")"
	lines=$(wc -l <"$tmp/out")
	assert_eq "$what: lines of output ($(cat "$tmp/out"))" "$lines" 1
	grep -Eiq -- "$pattern" "$tmp/out" || fail "$what: unclear: $(cat "$tmp/out")"
	echo "ok: $what: $(cat "$tmp/out")"
}

refuse_device() {
	refused "$1" "$2" "$vhx_backend" "${listen[@]}" --device "$3"
	[ ! -e "$tmp/be.sock" ] || fail "$1: left a socket behind"
}

# Images
refuse_device "missing image" 'no such file|not found|does not exist' "blk,id=a,file=$tmp/none.img"
: >"$tmp/empty.img"
refuse_device "empty image" 'short|small|empty' "blk,id=a,file=$tmp/empty.img"
truncate -s 100 "$tmp/short.img"
refuse_device "short image" 'short|small|sector|multiple|512' "blk,id=a,file=$tmp/short.img"
truncate -s 1000001 "$tmp/odd.img"
refuse_device "odd-sized image" 'multiple|sector|512' "blk,id=a,file=$tmp/odd.img"
refuse_device "directory as image" 'directory|not a (regular )?file|block device' "blk,id=a,file=$tmp"

# Consoles
refuse_device "console without an end" 'port0' "console,id=c"
refuse_device "unknown end" 'pty' "console,port0=tty0"
refuse_device "missing folder of a link" 'no such file' "console,port0=pty:$tmp/none/pty"
refuse_device "link that is a file" 'exists' "console,port0=pty:$tmp/short.img"
refuse_device "file that cannot be" 'no such file' "console,port0=null,port1=file:$tmp/none/log"
refuse_device "stdio twice" 'stdio is another' "console,port0=stdio,port1=stdio"

# Sockets
refuse_device "socket device without a path" 'uds-path' "vsock,id=v"
refuse_device "the host's own address" 'guest-cid.*at least 3' "vsock,uds-path=$tmp/v,guest-cid=2"
refuse_device "missing folder of a socket" 'no such file' "vsock,uds-path=$tmp/none/v"
refuse_device "socket's path that is a file" 'not a socket' "vsock,uds-path=$tmp/short.img"
refuse_device "path too long for a socket" '92' "vsock,uds-path=/$(printf 'x%.0s' {1..92})"

# Options
refused "unknown option" 'frobnicate' "$vhx_backend" "${listen[@]}" --frobnicate
refused "unknown option" 'frobnicate' "$vhx_frontend" --frobnicate
refuse_device "unknown device type" 'floppy' "floppy,id=a,file=$tmp/disk.img"
refuse_device "unknown property" 'colour' "blk,id=a,file=$tmp/disk.img,colour=red"
refuse_device "device without file" 'file' "blk,id=a"
make_image "$tmp/second.img" 8M
refused "same id twice" 'twice|two devices|already|duplicate' "$vhx_backend" "${listen[@]}" \
	--device "blk,id=a,file=$tmp/disk.img" --device "blk,id=a,file=$tmp/second.img"
refused "no device at all" 'device' "$vhx_backend" "${listen[@]}"
refused "bad log level" 'loud' "$vhx_backend" "${listen[@]}" --log-level loud \
	--device "blk,id=a,file=$tmp/disk.img"
refused "nobody to connect to" 'connect|spawn' "$vhx_frontend" --vhost-user "$tmp/vm.sock"
refused "too long a socket path" 'long' "$vhx_backend" \
	--listen "unix:$tmp/$(printf 'x%.0s' $(seq 120))" --device "blk,id=a,file=$tmp/disk.img"

# A live socket is never replaced, a stale one is.
start_backend
refused "socket in use" 'be\.sock.*(in use|already|busy|taken)|(in use|already|busy|taken).*be\.sock' \
	"$vhx_backend" "${listen[@]}" --device "blk,id=b,file=$tmp/second.img"
listening "$tmp/be.sock" || fail "the live socket was replaced"

# An image in use is refused, also by QEMU's tools, and also when QEMU was first.
refused "locked image" 'lock|in use|busy' "$vhx_backend" --listen "unix:$tmp/other.sock" \
	--device "blk,id=b,file=$tmp/disk.img"
if command -v qemu-io >/dev/null; then
	qemu-io -f raw -c 'write 0 512' "$tmp/disk.img" >"$tmp/out" 2>&1 &&
		fail "qemu-io writes to an image that is served"
	grep -qi lock "$tmp/out" || fail "qemu-io failed, but not at the lock: $(cat "$tmp/out")"
fi
crash backend
[ -S "$tmp/be.sock" ] || fail "a killed backend leaves its socket behind, this one did not"
start_backend
stop backend
[ ! -e "$tmp/be.sock" ] || fail "SIGTERM left the socket behind"

# An id that the backend does not have, and a device that another frontend holds.
start_backend
refused "unknown id" 'disk9' "$vhx_frontend" --log-level warning --connect "unix:$tmp/be.sock" \
	--vhost-user "$tmp/vm9.sock,id=disk9"
start_frontend
attached() { [ "$(stats "$tmp/fe.ctl" "len(s['devices'])")" = 1 ]; }
wait_for "the first frontend" "$vhx_patience" attached
refused "taken device" 'taken|in use|busy|attached' "$vhx_frontend" --log-level warning \
	--connect "unix:$tmp/be.sock" --vhost-user "$tmp/vm2.sock,id=disk0"
alive frontend || fail "the second frontend cost the first one its life"
# A backend of its own that cannot have the image ends both.
refused "spawned on a locked image" 'locked' "$vhx_frontend" --log-level error \
	--vhost-user "$tmp/vm4.sock" --spawn "blk,file=$tmp/disk.img"
stop frontend
stop backend

refused "one device on two sockets" 'present the same device' "$vhx_frontend" \
	--connect "unix:$tmp/be.sock" --vhost-user "$tmp/vm2.sock,id=disk0" --vhost-user "$tmp/vm3.sock"

# The backend is not there yet: said once, served when it comes.
start late "$vhx_frontend" --connect "unix:$tmp/be.sock" --vhost-user "$tmp/vm.sock,id=disk0" \
	--control "$tmp/fe.ctl"
sleep 3
alive late || fail "the frontend gave up on a backend that was not there yet"
assert_eq "lines about the absent backend" "$(grep -c 'be\.sock' "$tmp/late.log")" 1
start_backend
wait_listening late "$tmp/vm.sock"
running() { [ "$(stats "$tmp/fe.ctl" "len(s['channels'])")" = 1 ]; }
wait_for "a channel to the late backend" "$vhx_patience" running
stop late
stop backend

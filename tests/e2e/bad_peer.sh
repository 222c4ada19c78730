#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Peers of another user: refused with a line, unless the socket's policy names them; on every socket of ours.
# shellcheck source=../lab/lib.sh
. "$(dirname "$0")/../lab/lib.sh"
need_programs
need python3 python3
[ "$(id -u)" -eq 0 ] || skip "only root can be two users"
make_image "$tmp/disk.img" 8M
chmod 755 "$tmp"

# as_other TYPE PATH: connects as the other user. "in": still there after 0.3 s; "out": closed; else the error.
as_other() {
	python3 - "$@" <<-'PY'
	import os, socket, sys
	os.setgroups([])
	os.setresgid(65533, 65533, 65533)
	os.setresuid(65534, 65534, 65534)
	s = socket.socket(socket.AF_UNIX, getattr(socket, 'SOCK_' + sys.argv[1]))
	try:
	    s.connect(sys.argv[2])
	except OSError as e:
	    print(e.strerror)
	    sys.exit()
	s.settimeout(float(sys.argv[3]))
	try:
	    print('out' if s.recv(1) == b'' else 'in')
	except socket.timeout:
	    print('in')
	except ConnectionResetError:
	    print('out')
	PY
}
# For the end of a stream one may wait long, for its going on only as long as it takes to be sure enough.
closed() { assert_eq "$1" "$(as_other "$2" "$3" "$vhx_patience")" out; }
stays() { assert_eq "$1" "$(as_other "$2" "$3" 0.3)" in; }

start_pair() {
	start backend "$vhx_backend" --listen "unix:$tmp/be.sock$1" --control "$tmp/be.ctl$1" \
		--device "blk,id=disk0,file=$tmp/disk.img"
	wait_listening backend "$tmp/be.sock"
	start frontend "$vhx_frontend" --connect "unix:$tmp/be.sock" --control "$tmp/fe.ctl$1" \
		--vhost-user "$tmp/vm.sock,id=disk0$1"
	wait_listening frontend "$tmp/vm.sock"
	attached() { [ "$(stats "$tmp/fe.ctl" "len(s['devices'])")" = 1 ]; }
	wait_for "the frontend" "$vhx_patience" attached
}

stop_pair() {
	stop frontend
	stop backend
}

# By default the file itself keeps others out.
start_pair ""
for s in be.sock be.ctl fe.ctl vm.sock; do
	assert_eq "mode of $s" "$(stat -c %a "$tmp/$s")" 600
done
assert_eq "another user at a socket of mode 0600" "$(as_other SEQPACKET "$tmp/be.sock" 1)" "Permission denied"
stop_pair

# An open file is no open door.
start_pair ",mode=0666"
closed "a stranger at the backend" SEQPACKET "$tmp/be.sock"
closed "a stranger as VMM" STREAM "$tmp/vm.sock"
closed "a stranger at the control socket of the backend" STREAM "$tmp/be.ctl"
closed "a stranger at the control socket of the frontend" STREAM "$tmp/fe.ctl"
assert_log backend "be.sock: refused pid [0-9]+ uid 65534 gid 65533: neither"
assert_log backend "control: refused pid [0-9]+ uid 65534"
assert_log frontend "disk0: refused pid [0-9]+ uid 65534"
# A flood of them costs ten lines and then one a second.
for _ in $(seq 30); do
	as_other SEQPACKET "$tmp/be.sock" "$vhx_patience" >/dev/null
done
lines=$(grep -c 'be.sock: refused' "$tmp/backend.log")
[ "$lines" -lt 31 ] || fail "31 refusals made $lines lines"
stop_pair

# Whom the policy names is let in, by user or by group.
for who in allow-uid=65534 allow-gid=3:65533; do
	start_pair ",mode=0666,$who"
	stays "$who at the backend" SEQPACKET "$tmp/be.sock"
	stays "$who as VMM" STREAM "$tmp/vm.sock"
	stays "$who at the control socket" STREAM "$tmp/be.ctl"
	stop_pair
done

# The group of the file.
start_pair ",mode=0660,group=65533,allow-gid=65533"
assert_eq "group of the socket" "$(stat -c '%a %g' "$tmp/be.sock")" "660 65533"
stays "the group at the backend" SEQPACKET "$tmp/be.sock"
stop_pair

# No label here, but one is asked for.
if ! [ -e /proc/self/attr/current ] || ! cat /proc/self/attr/current >/dev/null 2>&1; then
	start backend "$vhx_backend" --listen "unix:$tmp/be.sock,allow-label=*:svirt_t:*" \
		--device "blk,id=disk0,file=$tmp/disk.img"
	wait_listening backend "$tmp/be.sock"
	start frontend "$vhx_frontend" --connect "unix:$tmp/be.sock" --vhost-user "$tmp/vm.sock"
	refused() { grep -q 'refused pid .*: it has no label' "$tmp/backend.log"; }
	wait_for "the refusal of a frontend without a label" "$vhx_patience" refused
	stop_pair
fi

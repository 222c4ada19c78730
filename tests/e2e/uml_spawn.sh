#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# One command: vhx-frontend starts the backend itself, as another process that holds its end of the exchange
# and the image and nothing else; killed, it is started again.
# shellcheck source=../lab/lib.sh
. "$(dirname "$0")/../lab/lib.sh"
need_programs
need_uml
make_image "$tmp/disk.img" 128M ext4
# A root frontend's backend is nobody, who has no way through a closed folder to its own program.
mkdir -m 700 "$tmp/closed"
cp "$vhx_backend" "$vhx_frontend" "$tmp/closed/"
vhx_frontend=$tmp/closed/vhx-frontend
start frontend "$vhx_frontend" --vhost-user "$tmp/vm.sock" --spawn "blk,file=$tmp/disk.img" \
	--control "$tmp/fe.ctl"
wait_listening frontend "$tmp/vm.sock"
boot uml --disk "$tmp/vm.sock" --script "$vhx_lab/guest/tree.sh" --append vhx_hold=1
wait_guest '^HOLD'
fe=${daemon_pid[frontend]}
# The frontend is confined and starts nothing by itself: the spawner, forked before, has started the backend.
only_child() {
	local pid rest
	read -r pid rest <"/proc/$1/task/$1/children"
	[ -n "$pid" ] || fail "process $1 has no child"
	assert_eq "further children of $1" "${rest:-}" ""
	only=$pid
}
only_child "$fe"
only_child "$only"
backend_pid=$only
isolation "$(cat "$tmp/guest.pid")" "$fe" "$backend_pid"
# Nothing of the frontend's is left in the child: no socket of the virtual machine, no control socket.
inodes=$(awk -v a="$tmp/vm.sock" -v b="$tmp/fe.ctl" '$8 == a || $8 == b { print $7 }' /proc/net/unix)
[ -n "$inodes" ] || fail "the frontend's own sockets are not in the table"
# (An ordinary user is not shown its descriptors.)
for fd in "/proc/$backend_pid/fd"/*; do
	for inode in $inodes; do
		[ "$(readlink "$fd")" != "socket:[$inode]" ] ||
			fail "the backend inherited a socket of the frontend"
	done
done
if [ "$(id -u)" -eq 0 ]; then
	uid=$(awk '/^Uid:/ { print $2, $3, $4 }' "/proc/$backend_pid/status")
	assert_match "user of the backend" "$uid" '^([1-9][0-9]*) \1 \1$'
	assert_eq "its capabilities" "$(awk '/^CapEff:/ { print $2 }' "/proc/$backend_pid/status")" \
		0000000000000000
fi
say go
guest_ok
stop frontend
gone() { ! kill -0 "$backend_pid" 2>/dev/null; }
wait_for "the end of the spawned backend" "$vhx_patience" gone
check_image "$tmp/disk.img" "$tmp/guest.log"

#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# A guest's network without any right on the host: passt in a network namespace of the test's own, and the programs as
# an ordinary user. The guest gets an address by DHCP, and moves a file each way with a server behind passt. When passt
# ends, the guest sees its link go down; a new backend on a new passt brings it up again.
# shellcheck source=../lab/lib.sh
. "$(dirname "$0")/../lab/lib.sh"
need_programs
need_uml
need passt passt
need setpriv util-linux
need python3 python3
in_netns "$@"

uplink_make

size=$((4 << 20))
head -c "$size" /dev/urandom >"$tmp/file"
sum=$(sha256sum <"$tmp/file" | cut -d' ' -f1)

user=()
uid=$(id -u)
if [ "$uid" -eq 0 ]; then
	uid=65533
	user=(setpriv --reuid="$uid" --regid="$uid" --clear-groups --inh-caps=-all --bounding-set=-all)
fi
run=$tmp/run
mkdir "$run"
chown "$uid" "$run"

start_passt() {
	rm -f "$run/passt.sock"
	start passt "${user[@]}" passt --foreground --stderr --socket "$run/passt.sock" --tcp-ports 5001
	wait_listening passt "$run/passt.sock"
}

serve_net() {
	start backend "${user[@]}" "$vhx_backend" --listen "unix:$run/be.sock" \
		--device "net,id=n0,end=stream:$run/passt.sock,mtu=65520"
	wait_listening backend "$run/be.sock"
}

tcp() {
	timeout "$vhx_guest_patience" python3 "$vhx_root/tests/e2e/tcp.py" "$@"
}

cat >"$tmp/run.sh" <<'GUEST'
modprobe virtio_net || exit 1
address() {
	ip addr flush dev eth0
	udhcpc -i eth0 -n -q -t 20 -T 1 -s /dhcp.sh >/dev/null || exit 1
	echo "$1-ADDRESS $(ip -4 addr show dev eth0 | sed -n 's/.*inet \([^ ]*\).*/\1/p') MTU $(cat /sys/class/net/eth0/mtu)"
}
# In by a port that passt listens on, and out again to the host.
echo_file() {
	nc -l -p 5001 >/tmp/file
	echo "$1-SUM $(sha256sum </tmp/file | cut -d' ' -f1)"
	until nc 10.8.0.1 5000 </tmp/file; do sleep 0.1; done
	echo "$1-SENT"
}
ip link set eth0 up
address FIRST
echo_file FIRST
while [ "$(cat /sys/class/net/eth0/carrier)" = 1 ]; do sleep 0.1; done
echo LINK-DOWN
while [ "$(cat /sys/class/net/eth0/carrier)" = 0 ]; do sleep 0.1; done
echo LINK-UP
address SECOND
echo_file SECOND
exit 0
GUEST

transfer() {
	local pid
	tcp receive 127.0.0.1 5000 >"$tmp/got" &
	pid=$!
	wait_guest "^$1-ADDRESS 10.8.0.5/24 MTU 65520"
	# passt takes a connection whether the guest listens yet or not.
	sleep 1
	tcp send 127.0.0.1 5001 <"$tmp/file" >/dev/null || fail "nothing can be sent to the guest"
	wait_guest "^$1-SUM $sum"
	wait_guest "^$1-SENT"
	wait $pid
	assert_eq "sum of what the guest sent" "$(cat "$tmp/got")" "$sum"
}

start_passt
serve_net
start frontend "${user[@]}" "$vhx_frontend" --connect "unix:$run/be.sock" --vhost-user "$run/vm.sock,id=n0"
wait_listening frontend "$run/vm.sock"
boot uml --user "$uid" --device "net:$run/vm.sock" --script "$tmp/run.sh" --add "$vhx_lab/guest/dhcp.sh"
transfer FIRST
crash passt
wait_guest '^LINK-DOWN'
assert_log backend 'n0: .*: nobody is there any more: the link is down'
stop backend
start_passt
serve_net
wait_guest '^LINK-UP'
transfer SECOND
guest_ok
stop backend
[ ! -e "$run/be.sock" ] || fail "the backend's socket was left behind"
echo "an address, $((size >> 20)) MiB each way as user $uid, and again by another passt"

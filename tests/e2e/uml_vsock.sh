#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Sockets of a guest under User-Mode Linux: socat in it, plain unix sockets on the host. Connections both ways with
# equal sums, half closed; one that nobody reads, beside others; nobody there; messages; and a backend that is killed,
# after which what was open has ended and new connections work. And the kernel's own vsock_test, client and server in
# the guest, whose connections go by the host. VHX_TORTURE: a quarter of a GiB.
# shellcheck disable=SC2016 # what the guest's shell expands
# shellcheck source=../lab/lib.sh
. "$(dirname "$0")/../lab/lib.sh"
need_programs
need_uml
# shellcheck source=commands.sh
. "$(dirname "$0")/commands.sh"
need python3 python3
need socat socat
made "the kernel's vsock_test" "$vhx_lab/vsock-test.sh"
vsock_test=$made

size=$((1 << 20))
[ -z "${VHX_TORTURE:-}" ] || size=$((256 << 20))
head -c $size /dev/urandom >"$tmp/file"
sum=$(sha256sum <"$tmp/file" | cut -d' ' -f1)

serve_vsock() {
	start_backend --device "vsock,id=v0,uds-path=$tmp/v,guest-cid=42"
}

# host NAME COMMAND...: vsock.py in the background; its output is NAME.log.
host() {
	local name=$1
	shift
	start "$name" timeout --signal=KILL "$vhx_guest_patience" python3 "$vhx_root/tests/e2e/vsock.py" "$@"
}

host_ok() {
	finish "$1" || fail "$1: $(tail -n 1 "$tmp/$1.log")"
}

cat >"$tmp/run.sh" <<'GUEST'
modprobe vmw_vsock_virtio_transport || exit 1
ip link set lo up
# Both sides of the kernel's test, without the cases named: client, then server have their say.
vsock_test_without() {
	skip=$(printf -- '--skip=%s ' "$@")
	vsock_test --control-port=9999 --mode=server --peer-cid=2 $skip >/tmp/server 2>&1 &
	server=$!
	until grep -q ':270F 00000000:0000 0A' /proc/net/tcp; do sleep 0.1; done
	vsock_test --control-host=127.0.0.1 --control-port=9999 --mode=client --peer-cid=2 $skip >/tmp/client 2>&1
	client=$?
	wait $server
	set -- $? $client
	sed 's/^/CLIENT /' /tmp/client
	sed 's/^/SERVER /' /tmp/server
	[ "$*" = "0 0" ]
}
seq 1 1000000 | head -c 1048576 >/tmp/bytes
echo "READY"
GUEST
guest_obeys >>"$tmp/run.sh"

# Both ways at once, begun by either side.
transfers() {
	host echo echo "$tmp/v_1000"
	wait_listening echo "$tmp/v_1000"
	guest 'socat -t 300 - VSOCK-CONNECT:2:1000 </tmp/bytes >/tmp/back && cmp /tmp/bytes /tmp/back'
	host_ok echo
	rm "$tmp/v_1000"
	host through through "$tmp/v" 5000 "$tmp/file"
	host_ok through
	assert_match "what came back" "$(tail -n 1 "$tmp/through.log")" "^$size $sum\$"
}

serve_vsock
start_frontend --vhost-user "$tmp/vm.sock,id=v0"
boot uml --device "vsock:$tmp/vm.sock" --script "$tmp/run.sh" --program "$(command -v socat)" --program "$vsock_test"
wait_guest '^READY'
guest '(socat -t 300 VSOCK-LISTEN:5000,fork EXEC:"busybox cat" >/dev/null 2>&1 &)'
transfers

# The kernel's own cases: those that want nobody to listen, and, with a relay on the host that makes one of the guest's
# connection to the host and the host's to the guest, the others. Not 6, which wants MSG_EOR to arrive, of which unix
# sockets know nothing, and not 8, which measures time.
guest 'vsock_test_without 2 3 4 5 6 7 8 9 10'
start relay python3 "$vhx_root/tests/e2e/vsock_relay.py" "$tmp/v" 1234
wait_listening relay "$tmp/v.seq_1234"
guest 'vsock_test_without 0 1 6 8'
crash relay
assert_eq "cases of the kernel's test that passed" "$(grep -ac '^CLIENT [0-9].*\.\.\.ok' "$tmp/guest.log")" 9

# Nobody there, either way: an end, not a wait.
guest '! socat -u /dev/null VSOCK-CONNECT:2:1001'
host refused refused "$tmp/v" 5001
host_ok refused

# One that nobody reads stops alone.
host hold hold "$tmp/v_1002" "$tmp/go"
wait_listening hold "$tmp/v_1002"
guest '(socat -u FILE:/tmp/bytes VSOCK-CONNECT:2:1002 &)'
transfers
touch "$tmp/go"
host_ok hold
assert_match "what was read late" "$(tail -n 1 "$tmp/hold.log")" "^1048576 "

# A connection that waits for bytes when the backend is killed, and a new one.
host idle hold "$tmp/v_1003" "$tmp/never"
wait_listening idle "$tmp/v_1003"
guest '(socat -u VSOCK-CONNECT:2:1003 - 2>&1; echo IDLE-ENDED) & true'
wait_for "the idle connection" "$vhx_patience" grep -q connected "$tmp/idle.log"
crash backend
serve_vsock
wait_guest '^IDLE-ENDED'
transfers
say end
guest_ok
stop backend
[ ! -e "$tmp/v" ] || fail "the socket was left behind"
[ ! -e "$tmp/v.seq" ] || fail "the socket of sequenced packets was left behind"
echo "$size bytes both ways, with one that nobody read, before and after another backend"

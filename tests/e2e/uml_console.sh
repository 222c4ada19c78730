#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# A guest's console and two named ports under User-Mode Linux: a shell on hvc0 by a pseudo terminal, a file of
# 1 MiB each way, output while nobody reads, and all of it again after the backend was killed.
# shellcheck disable=SC2016 # what the guest's shell expands
# shellcheck source=../lab/lib.sh
. "$(dirname "$0")/../lab/lib.sh"
need_programs
need_uml
need python3 python3

serve_console() {
	start_backend --device "console,id=c0,port0=pty:$tmp/pty,cols=101,rows=37,port1=socket:$tmp/data,name1=org.test.data,port2=socket:$tmp/log,name2=org.test.log"
}

# What is read and written on the host, by plain programs of their own: see console.py.
host() {
	timeout --signal=KILL "$vhx_guest_patience" python3 "$vhx_root/tests/e2e/console.py" "$@"
}

cat >"$tmp/run.sh" <<'GUEST'
modprobe virtio_console || exit 1
for i in $(seq 300); do
	[ -e /dev/virtio-ports/org.test.log ] && break
	for p in /sys/class/virtio-ports/*; do
		[ -s "$p/name" ] || continue
		mkdir -p /dev/virtio-ports
		ln -sf "/dev/$(basename "$p")" "/dev/virtio-ports/$(cat "$p/name")"
	done
	sleep 0.1
done
[ -e /dev/virtio-ports/org.test.log ] || { ls -l /dev/vport* /sys/class/virtio-ports; exit 1; }
echo "SIZE $(stty size </dev/hvc0)"
# In and out again by the same port, as a whole. Without anybody on the host it is at its end at once.
data() {
	: >/tmp/in
	while have=$(wc -c </tmp/in) && [ "$have" -lt 1048576 ]; do
		head -c $((1048576 - have)) /dev/virtio-ports/org.test.data >>/tmp/in || sleep 0.1
		[ "$(wc -c </tmp/in)" -gt "$have" ] || sleep 0.1
	done
	echo "$1-SUM $(sha256sum </tmp/in | cut -d' ' -f1)"
	cat /tmp/in >/dev/virtio-ports/org.test.data
	echo "$1-SENT"
}
# Far more than anything on the way can hold: it goes on when somebody reads.
seq 100000 >/dev/virtio-ports/org.test.log && echo "LOG-SENT" &
data FIRST
setsid sh -c 'exec sh </dev/hvc0 >/dev/hvc0 2>&1' &
shell=$!
wait $shell
echo "SHELL-ENDED"
data SECOND
wait
exit 0
GUEST

head -c 1048576 /dev/urandom >"$tmp/file"
sum=$(sha256sum <"$tmp/file" | cut -d' ' -f1)

serve_console
start_frontend --vhost-user "$tmp/vm.sock,id=c0"
boot uml --device "console:$tmp/vm.sock" --script "$tmp/run.sh"
wait_guest '^SIZE '
assert_match "size of hvc0" "$(sed 's/\r//g' "$tmp/guest.log")" '^SIZE 37 101$'

host transfer "$tmp/data" "$tmp/file" "$tmp/back" || fail "the transfer ended early"
cmp "$tmp/file" "$tmp/back" || fail "what came back differs"
wait_guest "^FIRST-SUM $sum"
wait_guest '^FIRST-SENT'

# Nobody has read the log so far, and the guest still waits with the rest of it.
guest_said '^LOG-SENT' && fail "100000 lines were sent although nobody read them"
host read "$tmp/log" 588895 "$tmp/log.txt" || fail "the log ended early"
seq 100000 | cmp - "$tmp/log.txt" || fail "lines of the log are lost"
wait_guest '^LOG-SENT'

# A shell by the pseudo terminal; half of the session is with another backend.
host shell "$tmp/pty" 'echo $((6*7))' 42 || fail "no answer of the shell"
crash backend
serve_console
host shell "$tmp/pty" 'echo again $((6*8))' 'again 48' || fail "no answer of the shell any more"
host shell "$tmp/pty" exit ''
wait_guest '^SHELL-ENDED'

host transfer "$tmp/data" "$tmp/file" "$tmp/back2" || fail "the second transfer ended early"
cmp "$tmp/file" "$tmp/back2" || fail "what came back from the second backend differs"
guest_ok
stop backend
[ ! -e "$tmp/pty" ] || fail "the link was left behind"
echo "a shell, 1 MiB each way twice, 100000 lines that nobody read at first"

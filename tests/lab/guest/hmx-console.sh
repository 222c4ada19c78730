# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=dash
# Guest: a console on the driver. virtio_console spins for its output with interrupts off, so none of this may
# depend on anybody else's work: output of processes and of the kernel, the driver's own lines among them, with
# a backend, with one that is stopped, and without. Then a port of bytes each way, which loses nothing, and sockets.
# shellcheck source=hmx.sh
. /hmx.sh
con=devices/con
mkdir -p /dev/pts
mount -t devpts devpts /dev/pts
# Everything that the kernel says goes to the console as well.
echo 8 >/proc/sys/kernel/printk

serve() {
	rm -f /tmp/port
	backend_start "console,id=con,port0=file:/tmp/con.out$1"
}

# arrives TEXT: at the backend's end.
arrives() {
	wait_for "'$1' on the console" grep -q "$1" /tmp/con.out
}

out() {
	echo "$1" >/dev/hvc0 || fail "write to hvc0"
}

serve ""
relay_start
wait_for /dev/hvc0 [ -c /dev/hvc0 ]
wait_for "a running console" state_is con running
out "FROM-A-PROCESS"
arrives FROM-A-PROCESS
echo "<1>FROM-THE-KERNEL" >/dev/kmsg
arrives FROM-THE-KERNEL

echo "CONSOLE output"

# More than is kept of a console that nobody takes from: it is dropped, and nobody waits.
kill -STOP "$backend"
seq 8000 >/dev/hvc0 || fail "write without a backend that works"
[ "$(value $con queue1_dropped)" -gt 0 ] || fail "nothing was dropped of $(value $con queue1_bytes_out) bytes"
kill -CONT "$backend"
wait_for "room again" sh -c "echo AFTER-THE-STOP >/dev/hvc0; grep -q AFTER-THE-STOP /tmp/con.out"

echo "CONSOLE stopped backend"

# The driver's own lines about its backend's death go through the driver.
lives=$(value channel lives)
backend_kill
# What it was sent and had not shown went with it.
wait_for "the end of this life" grep -Eq '^state (waiting|opening|hello)' "$hmx/channel"
out "WITHOUT-A-BACKEND"
echo "<1>KERNEL-WITHOUT-A-BACKEND" >/dev/kmsg
serve ""
wait_for "the next life" at_least channel lives $((lives + 1))
arrives WITHOUT-A-BACKEND
arrives KERNEL-WITHOUT-A-BACKEND
out "AFTER-THE-KILL"
arrives AFTER-THE-KILL
arrives 'down: '

echo "CONSOLE killed backend"

# Several ports: the console is what the backend says it is, the other one a pipe of bytes.
relay_kill
backend_kill
wait_for "the end of the channel" absent /sys/class/hmx/hmx0
: >/tmp/con.out
serve ",port1=pty:/tmp/port,name1=data"
relay_start
wait_for "a running console" state_is con running
port() {
	basename "$(dirname "$(grep -ls '^data$' /sys/class/virtio-ports/*/name)")"
}
port_there() {
	grep -qs '^data$' /sys/class/virtio-ports/*/name
}
wait_for "the port" port_there
wait_for "the port's device" [ -c "/dev/$(port)" ]
wait_for "the port's end" [ -e /tmp/port ]
out "ONE-OF-SEVERAL"
arrives ONE-OF-SEVERAL
echo "CONSOLE several ports"
stty raw -echo </tmp/port
head -c 262144 /dev/urandom >/tmp/bytes
exec 9<>/tmp/port
exec 8<>"/dev/$(port)"
dd bs=4096 count=64 iflag=fullblock of=/tmp/in <&8 2>/dev/null &
reader=$!
cat /tmp/bytes >&9 || fail "write to the port's end"
wait $reader || fail "read of the port"
cmp /tmp/bytes /tmp/in || fail "what came in differs"
dd bs=4096 count=64 iflag=fullblock of=/tmp/back <&9 2>/dev/null &
reader=$!
cat /tmp/bytes >&8 || fail "write to the port"
wait $reader || fail "read of the port's end"
cmp /tmp/bytes /tmp/back || fail "what went out differs"
exec 8<&- 9<&-
[ "$(value $con queue5_dropped)" -eq 0 ] || fail "bytes of a port were dropped"
[ "$(value $con queue5_bytes_out)" -ge 262144 ] || fail "the port's bytes went elsewhere"

echo "CONSOLE port"

# Beside a console, sockets: bytes there and back by a backend in this guest, and a connection that waits for bytes
# while the backend is killed, which ends it.
serve_sockets() {
	backend_start "console,id=con,port0=file:/tmp/con.out" "vsock,id=sock,uds-path=/tmp/v"
}
connected() {
	grep -q " 03 .*$1\$" /proc/net/unix
}
relay_kill
backend_kill
wait_for "the end of the channel" absent /sys/class/hmx/hmx0
serve_sockets
relay_start
wait_for "a running socket device" state_is sock running
socat UNIX-LISTEN:/tmp/v_1000,fork EXEC:"busybox cat" &
host=$!
socat UNIX-LISTEN:/tmp/v_1001,fork EXEC:"busybox sleep 100000" &
silent=$!
wait_for "a listener" [ -S /tmp/v_1000 ]
wait_for "a listener" [ -S /tmp/v_1001 ]
echo_back() {
	socat -t 300 - VSOCK-CONNECT:2:1000 </tmp/bytes >/tmp/back || fail "a connection to the host"
	cmp /tmp/bytes /tmp/back || fail "what came back by a socket differs"
}
echo_back
socat -u VSOCK-CONNECT:2:1001 /dev/null &
idle=$!
wait_for "the idle connection" connected /tmp/v_1001
backend_kill
serve_sockets
wait_for "the end of the idle connection" gone "$idle"
wait "$idle"
wait_for "a running socket device" state_is sock running
echo_back
kill "$host" "$silent"

echo 4 >/proc/sys/kernel/printk
relay_kill
driver_unload
backend_kill
echo "CONSOLE-DONE console, port and sockets"

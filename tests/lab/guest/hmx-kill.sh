# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=dash
# Guest: processes write to the driver's disk while the backend is killed, with requests in flight, and started
# anew. Word of the kernel's command line: vhx_kills=N (default 4).
# shellcheck source=hmx.sh
. /hmx.sh
kills=4 writers=4
# shellcheck disable=SC2013 # words are what is wanted
for w in $(cat /proc/cmdline); do
	case $w in
	vhx_kills=*) kills=${w#*=} ;;
	esac
done
truncate -s 64M /tmp/disk.img
backend_start
relay_start
wait_for /dev/vda [ -b /dev/vda ]
echo "KILL-START"

# Each writes its own bytes to its own 4 MiB, again and again, and waits for each request.
writer() {
	head -c 4194304 /dev/urandom >/tmp/bytes"$1"
	until [ -e /tmp/stop ]; do
		dd if=/tmp/bytes"$1" of=/dev/vda bs=64k seek=$(($1 * 64)) oflag=direct conv=fsync \
			2>/tmp/dd"$1" || { cat /tmp/dd"$1"; return 1; }
	done
}

pids=''
for i in $(seq 0 $((writers - 1))); do
	writer "$i" &
	pids="$pids $!"
done

in_flight() {
	[ "$(value devices/disk0 queue0_chains)" -gt "$(value devices/disk0 queue0_completed)" ]
}

for n in $(seq "$kills"); do
	completed=$(value devices/disk0 queue0_completed)
	wait_for "requests before kill $n" at_least devices/disk0 queue0_completed $((completed + 100))
	lives=$(value channel lives)
	# It does not work any more, so what is in flight stays there until it is dead.
	kill -STOP "$backend"
	wait_for "requests in flight" in_flight
	backend_kill
	backend_start
	wait_for "the next life" at_least channel lives $((lives + 1))
done
: >/tmp/stop
for p in $pids; do
	wait "$p" || fail "a writer saw an error"
done
for i in $(seq 0 $((writers - 1))); do
	dd if=/dev/vda bs=64k skip=$((i * 64)) count=64 iflag=direct 2>/dev/null |
		cmp - /tmp/bytes"$i" || fail "the disk lost what writer $i wrote"
done
replays=$(value devices/disk0 replays)
[ "$replays" -gt 0 ] || fail "no request was sent again, though kills hit requests in flight"
[ "$(value devices/disk0 queue0_errors)" -eq 0 ] || fail "requests ended with errors"
echo "KILL-DONE $kills kills, $replays requests sent again"

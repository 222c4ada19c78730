# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=dash
# Guest: processes write to the driver's disk, and a file system lives on its SCSI disk, while the backend is killed,
# with requests of both in flight, and started anew. Word of the kernel's command line: vhx_kills=N (default 4).
# shellcheck source=hmx.sh
. /hmx.sh
kills=4 writers=4
# shellcheck disable=SC2013 # words are what is wanted
for w in $(cat /proc/cmdline); do
	case $w in
	vhx_kills=*) kills=${w#*=} ;;
	esac
done
truncate -s 64M /tmp/disk.img /tmp/scsi.img
devices='blk,id=disk0,file=/tmp/disk.img scsi,id=s0,lun0=/tmp/scsi.img'
# shellcheck disable=SC2086 # split into words on purpose
backend_start $devices
relay_start
wait_for /dev/vda [ -b /dev/vda ]
wait_for /dev/sda [ -b /dev/sda ]
echo "KILL-START"

# Each writes its own bytes to its own 4 MiB, again and again, and waits for each request.
writer() {
	head -c 4194304 /dev/urandom >/tmp/bytes"$1"
	until [ -e /tmp/stop ]; do
		dd if=/tmp/bytes"$1" of=/dev/vda bs=64k seek=$(($1 * 64)) oflag=direct conv=fsync \
			2>/tmp/dd"$1" || { cat /tmp/dd"$1"; return 1; }
	done
}

# Another tree of files in another file system each time: mounted, written, mounted again, read and checked.
filer() {
	rounds=0
	until [ -e /tmp/stop ] && [ $rounds -gt 0 ]; do
		mke2fs /dev/sda >/dev/null || return 1
		TREE_DEV=/dev/sda sh /tree.sh >/tmp/tree.log || { cat /tmp/tree.log; return 1; }
		e2fsck -fn /dev/sda >/tmp/fsck.log 2>&1 || { cat /tmp/fsck.log; return 1; }
		rounds=$((rounds + 1))
	done
	echo $rounds >/tmp/rounds
}

filer &
pids=$!
for i in $(seq 0 $((writers - 1))); do
	writer "$i" &
	pids="$pids $!"
done

# in_flight NAME QUEUE
in_flight() {
	[ "$(value "devices/$1" "queue$2_chains")" -gt "$(value "devices/$1" "queue$2_completed")" ]
}

for n in $(seq "$kills"); do
	completed=$(value devices/disk0 queue0_completed)
	commands=$(value devices/s0 queue2_completed)
	wait_for "requests before kill $n" at_least devices/disk0 queue0_completed $((completed + 100))
	wait_for "commands before kill $n" at_least devices/s0 queue2_completed $((commands + 5))
	lives=$(value channel lives)
	# It does not work any more, so what is in flight stays there until it is dead.
	kill -STOP "$backend"
	wait_for "requests in flight" in_flight disk0 0
	wait_for "commands in flight" in_flight s0 2
	backend_kill
	# shellcheck disable=SC2086 # split into words on purpose
	backend_start $devices
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
commands=$(value devices/s0 replays)
[ "$commands" -gt 0 ] || fail "no command was sent again, though kills hit commands in flight"
[ "$(value devices/s0 queue2_errors)" -eq 0 ] || fail "commands ended with errors"
mount -t ext4 -o ro,loop /tmp/scsi.img /mnt || fail "the image of the SCSI disk does not mount"
(cd /mnt/tree && sha256sum -c -s /tmp/sums) || fail "the SCSI disk's image differs from what was written"
umount /mnt
echo "KILL-DONE $kills kills, $replays requests and $commands commands sent again, $(cat /tmp/rounds) file systems"

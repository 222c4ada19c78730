# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=dash disable=SC2086,SC2013,SC2046
# Guest: the same jobs of fio on a disk over a window of ivshmem and on one of QEMU's own virtio-blk-pci, one after the
# other in each round, each round beginning with the other one. A line per job:
#   BENCH POINT ENGINE IOPS, and for the window the driver's counters of the job: COUNT POINT NAME VALUE...
# Words of the kernel command line: vhx_rounds=N, vhx_seconds=N per job.
set -u
rounds=3 seconds=2
for w in $(cat /proc/cmdline); do
	case $w in
	vhx_rounds=*) rounds=${w#*=} ;;
	vhx_seconds=*) seconds=${w#*=} ;;
	esac
done
hmx=/sys/kernel/debug/virtio_hmx/hmx0
channel='sends wakes_sent wakes_taken would_blocks credits_sent data_messages rx_messages'
queue='queue0_notifies queue0_chains queue0_interrupts queue0_bytes_copied queue0_bytes_by_ref queue0_starved'

counters() {
	for name in $channel $queue; do
		counter $name
	done
}

counter() {
	case $1 in
	queue0_*) sed -n "s/^$1 //p" $hmx/devices/disk0 ;;
	*) sed -n "s/^$1 //p" $hmx/channel ;;
	esac
}

# job DEVICE BS ACCESS DEPTH: I/Os per second.
job() {
	fio --name=b --filename=$1 --direct=1 --thread --ioengine=libaio --bs=$2 --rw=rand$3 --iodepth=$4 \
		--time_based --runtime=$seconds --ramp_time=0.3 --randseed=1 --norandommap --minimal >/tmp/fio.log 2>&1 ||
		{ cat /tmp/fio.log; exit 1; }
	case $3 in
	read) cut -d';' -f8 /tmp/fio.log | tail -n 1 ;;
	write) cut -d';' -f49 /tmp/fio.log | tail -n 1 ;;
	esac
}

# disk_of PATTERN: the disk whose device lies below one of this name.
disk_of() {
	for d in /sys/block/vd*; do
		case $(readlink -f $d/device) in
		*/$1*) echo /dev/${d##*/} ;;
		esac
	done
}

measure() { # ENGINE POINT BS ACCESS DEPTH
	if [ "$1" = qemu ]; then
		echo "BENCH $2 qemu $(job $own $3 $4 $5)"
		return
	fi
	set -- "$@" $(counters)
	echo "BENCH $2 hmx $(job $ours $3 $4 $5)"
	point=$2
	shift 5
	line="COUNT $point"
	for name in $channel $queue; do
		line="$line $name $(($(counter $name) - $1))"
		shift
	done
	echo "$line"
}

wait_disk vdb
ours=$(disk_of hmx) own=$(disk_of virtio | grep -v "^$ours$")
if [ -z "$ours" ] || [ -z "$own" ]; then
	echo "disks: '$ours' '$own'"
	exit 1
fi
echo "ours $ours, QEMU's own $own"
round=0
while [ $round -lt $rounds ]; do
	round=$((round + 1))
	for bs in 4k 128k; do
		for access in read write; do
			for depth in 1 32; do
				point=$bs-$access-$depth
				first=hmx second=qemu
				[ $((round % 2)) -eq 1 ] || first=qemu second=hmx
				measure $first $point $bs $access $depth
				measure $second $point $bs $access $depth
			done
		done
	done
	echo "ROUND $round"
done
echo BENCH-DONE

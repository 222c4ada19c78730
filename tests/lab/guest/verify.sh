# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=dash disable=SC2086,SC2013,SC2034
# Guest: fio writes blocks that carry their own checksums, reads them back and compares, pass after
# pass. Words of the kernel command line: vhx_passes=N (default 2), vhx_size=MIB (default 48),
# vhx_until=word ends after the pass in which the host says anything on the console. With VERIFY_DEV another disk
# than /dev/vda.
set -u
passes=2 size=48 until=''
for w in $(cat /proc/cmdline); do
	case $w in
	vhx_passes=*) passes=${w#*=} ;;
	vhx_size=*) size=${w#*=} ;;
	vhx_until=*) until=${w#*=} ;;
	esac
done
engine=libaio
fio --enghelp 2>/dev/null | grep -q libaio || engine=psync
if [ -n "$until" ]; then
	(read -r word; : > /tmp/stop) < /dev/console &
	passes=1000000
fi
echo "VERIFY-START $engine"
n=0
while [ $n -lt $passes ] && ! [ -e /tmp/stop ]; do
	n=$((n + 1))
	# Random sizes and order in odd passes, sequential big blocks in even ones.
	if [ $((n % 2)) -eq 1 ]; then
		set -- --rw=randwrite --bsrange=512-64k --bs_unaligned=0 --blockalign=512
	else
		set -- --rw=write --bs=128k
	fi
	fio --name=v --filename=${VERIFY_DEV:-/dev/vda} --size=${size}m --direct=1 --thread --ioengine=$engine \
		--iodepth=16 --randseed=$n --verify=crc32c --verify_fatal=1 --do_verify=1 \
		--verify_state_save=0 --group_reporting "$@" > /tmp/fio.log 2>&1
	rc=$?
	if [ $rc -ne 0 ] || ! grep -q 'err= 0' /tmp/fio.log; then
		cat /tmp/fio.log
		dmesg | tail -n 20
		echo "guest: pass $n failed ($rc)"
		exit 1
	fi
	echo "PASS $n"
done
if dmesg | grep -E 'I/O error|Buffer I/O|blk_update_request'; then
	echo "guest: the kernel saw I/O errors"
	exit 1
fi
echo "VERIFY-DONE $n passes"

# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=dash
# Guest: three at a time write random megabytes to the disk and compare what they wrote some time ago, past the page
# cache and through it, until the host says anything on the console. Needs no fio, and little memory. A disk-reread that
# is there has a buffer all that time that only the device writes to.
set -u
slots=8

# sum_of SLOT [FLAG]: of the megabyte there.
sum_of() {
	dd if=/dev/vda bs=64k skip=$(($1 * 16)) count=16 ${2:+"$2"} 2>/dev/null | sha256sum
}

# copies WORKER
copies() {
	n=0
	while ! [ -e /tmp/stop ]; do
		n=$((n + 1))
		slot=$(($1 * slots + n % slots))
		dd if=/dev/urandom of="/tmp/data$1" bs=64k count=16 2>/dev/null
		dd if="/tmp/data$1" of=/dev/vda bs=64k seek=$((slot * 16)) oflag=direct conv=notrunc 2>/dev/null || {
			echo "WRITE-FAILED $1 $n"
			return 1
		}
		sha256sum <"/tmp/data$1" >"/tmp/sum$slot"
		slot=$(($1 * slots + (n + 1) % slots))
		[ -e "/tmp/sum$slot" ] || continue
		flag=
		[ $((n % 2)) -eq 0 ] || flag=iflag=direct
		[ "$(sum_of $slot $flag)" = "$(cat "/tmp/sum$slot")" ] || {
			echo "MISMATCH $1 $n"
			return 1
		}
		[ "$1" -ne 0 ] || echo "PASS $n"
	done
	echo "$n" >"/tmp/passes$1"
}

(read -r _; : >/tmp/stop) </dev/console &
echo VERIFY-START
reader=''
if [ -x /bin/disk-reread ]; then
	disk-reread /dev/vda 65536 8388608 &
	reader=$!
fi
for w in 0 1 2; do
	copies $w &
	eval "worker$w=$!"
done
for w in 0 1 2; do
	eval "wait \$worker$w" || exit 1
done
# It ends by itself only when a read fails.
[ -z "$reader" ] || kill $reader || exit 1
if dmesg | grep -E 'I/O error|Buffer I/O|blk_update_request'; then
	echo "guest: the kernel saw I/O errors"
	exit 1
fi
echo "VERIFY-DONE $(cat /tmp/passes0) passes"

# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=dash
# Guest: waits for /dev/vda, which the driver under test brings, writes random bytes to it, reads them
# back past the cache, and unloads the driver. Words of the kernel's command line: vhx_mib=N, how much
# (default 8); vhx_unload=MODULE,..., in this order. A /start.sh runs first, a /stop.sh before the modules
# go.
set -eu
mib=8 unload=''
# shellcheck disable=SC2013 # words are what is wanted
for w in $(cat /proc/cmdline); do
	case $w in
	vhx_mib=*) mib=${w#*=} ;;
	vhx_unload=*) unload=${w#*=} ;;
	esac
done
# shellcheck source=/dev/null
[ ! -e /start.sh ] || . /start.sh
until [ -b /dev/vda ]; do
	sleep 0.1
done
echo "DISK $(cat /sys/block/vda/size) sectors"
head -c $((mib * 1048576)) /dev/urandom > /tmp/random
dd if=/tmp/random of=/dev/vda bs=1M conv=fsync 2>/dev/null
echo 3 > /proc/sys/vm/drop_caches
head -c $((mib * 1048576)) /dev/vda | cmp - /tmp/random
# Awkward places too: one sector, and blocks that straddle pages.
dd if=/tmp/random of=/dev/vda bs=512 skip=7 seek=3 count=1 conv=notrunc,fsync oflag=direct 2>/dev/null
dd if=/tmp/random of=/tmp/expected bs=512 skip=7 count=1 2>/dev/null
dd if=/dev/vda bs=512 skip=3 count=1 iflag=direct 2>/dev/null | cmp - /tmp/expected
dd if=/tmp/random of=/tmp/expected bs=3584 skip=1 count=9 2>/dev/null
dd if=/tmp/random of=/dev/vda bs=3584 skip=1 seek=200 count=9 conv=notrunc,fsync 2>/dev/null
echo 3 > /proc/sys/vm/drop_caches
dd if=/dev/vda bs=3584 skip=200 count=9 2>/dev/null | cmp - /tmp/expected
rm -f /tmp/expected
echo "SUM $(head -c $((mib * 1048576)) /dev/vda | sha256sum)"
# shellcheck source=/dev/null
[ ! -e /stop.sh ] || . /stop.sh
for m in $(echo "$unload" | tr , ' '); do
	rmmod "$m"
done
[ ! -e /dev/vda ] || { echo "guest: the disk outlives its driver"; exit 1; }
if lsmod | grep hmx; then
	echo "guest: modules are left"
	exit 1
fi
echo "SMOKE-DONE"

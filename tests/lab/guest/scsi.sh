# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=dash
# Guest: three units of a SCSI controller, the first with an ext4, the second read-only. A tree of files, what sg3_utils
# says, and the size of the third, which the host changes; then a load on that one until the host says that it is enough.
set -u
fail() {
	echo "guest: $*"
	dmesg | tail -n 20
	exit 1
}
for m in virtio_scsi sd_mod sg; do
	modprobe $m || fail "no $m"
done
n=0
until [ -b /dev/sdc ]; do
	n=$((n + 1))
	[ $n -lt 300 ] || fail "no third unit"
	sleep 0.1
done
# Units may have any name.
unit() {
	basename "$(echo /sys/bus/scsi/devices/*:0:0:"$1"/block/sd?)"
}
lun0=$(unit 0) lun1=$(unit 1) lun2=$(unit 2)

TREE_DEV=/dev/$lun0 sh /tree.sh || fail "tree"

# Programs of others: they complain about what is not as the standards have it.
[ "$(sg_luns -q "/dev/$lun0" | grep -c '^ *000')" -eq 3 ] || fail "sg_luns"
sg_turs "/dev/$lun0" || fail "sg_turs"
sg_inq "/dev/$lun0" | grep -q 'Unit serial number: serial-zero' || fail "sg_inq"
for page in sv sn di bl bdc lbpv; do
	sg_vpd -p $page "/dev/$lun0" >/tmp/vpd 2>&1 || fail "sg_vpd $page: $(cat /tmp/vpd)"
done
grep -q 'Unmap command supported (LBPU): 1' /tmp/vpd || fail "not thin"
sg_readcap -l "/dev/$lun0" | grep -q 'Number of logical blocks=262144' || fail "sg_readcap"
sg_modes "/dev/$lun1" | grep -q 'WP=1' || fail "not write-protected"
[ "$(cat "/sys/block/$lun1/ro")" = 1 ] || fail "a read-only unit can be written"
sg_dd if=/dev/zero of="/dev/$(basename "$(echo /sys/block/"$lun1"/device/scsi_generic/sg?)")" bs=512 count=1 \
	>/tmp/dd 2>&1 && fail "a read-only unit was written"
grep -qi 'data protect' /tmp/dd || fail "read-only: $(cat /tmp/dd)"
head -c 65536 "/dev/$lun1" | tr -d '\0' | grep -q . && fail "a read-only unit has data"
grep -q 1 "/sys/block/$lun2/queue/fua" || fail "no FUA"
echo "SCSI commands"

head -c 1048576 /dev/urandom >/tmp/r
dd if=/tmp/r "of=/dev/$lun2" bs=64k oflag=direct conv=fsync 2>/dev/null || fail "write"
sg_unmap --force --lba=8 --num=1000 "/dev/$lun2" || fail "sg_unmap"
sg_write_same --16 --lba=1024 --num=512 --in=/dev/zero --xferlen=512 "/dev/$lun2" || fail "sg_write_same"
sg_verify --lba=0 --count=100 "/dev/$lun2" || fail "sg_verify"
sg_sync "/dev/$lun2" || fail "sg_sync"
sg_reset --device "/dev/$lun2" || fail "sg_reset"
echo 3 >/proc/sys/vm/drop_caches
[ "$(dd "if=/dev/$lun2" bs=512 skip=1024 count=512 2>/dev/null | tr -d '\0' | wc -c)" = 0 ] ||
	fail "WRITE SAME wrote no zeroes"
[ "$(dd "if=/dev/$lun2" bs=512 count=8 2>/dev/null | sha256sum)" = \
	"$(head -c 4096 /tmp/r | sha256sum)" ] || fail "blocks in front of the unmapped ones differ"
echo "SCSI unmap"

echo "RESIZE"
n=0
until [ "$(cat "/sys/block/$lun2/size")" = 131072 ]; do
	n=$((n + 1))
	[ $n -lt 300 ] || fail "still $(cat "/sys/block/$lun2/size") sectors"
	sleep 0.1
done
dd if=/tmp/r "of=/dev/$lun2" bs=64k seek=1000 count=8 conv=fsync 2>/dev/null || fail "write behind the old end"
echo "RESIZED"
VERIFY_DEV=/dev/$lun2 sh /verify.sh || exit 1
echo "SCSI-DONE"

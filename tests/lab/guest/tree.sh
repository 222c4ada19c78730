# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=dash disable=SC2086,SC2013,SC2034
# Guest: mount the ext4 disk, write a tree of files of awkward sizes, print their checksums, unmount,
# mount again and compare. With TREE_DEV another disk than /dev/vda.
set -eu
dev=${TREE_DEV:-/dev/vda}
m=/mnt
[ -b "$dev" ] || { echo "guest: no $dev"; exit 1; }
mount -t ext4 "$dev" $m
mkdir -p $m/tree/deep/er/still $m/tree/many
n=0
for size in 0 1 511 512 513 4095 4096 4097 65535 65536 131073 1048579 8388608 12582919; do
	n=$((n + 1))
	head -c $size /dev/urandom > $m/tree/deep/er/file$n-$size
done
for i in $(seq 120); do
	echo "small file $i of $dev" > $m/tree/many/$i
done
dd if=/dev/urandom of=$m/tree/holes bs=4096 count=3 seek=1000 2>/dev/null
ln -s deep/er $m/tree/link
mv $m/tree/many/7 $m/tree/deep/seven
rm $m/tree/many/9
sync
cd $m/tree
find . -type f | LC_ALL=C sort | while read -r f; do sha256sum "$f"; done > /tmp/sums
cd /
umount $m
echo 3 > /proc/sys/vm/drop_caches
mount -t ext4 -o ro "$dev" $m
(cd $m/tree && sha256sum -c -s /tmp/sums) || { echo "guest: files differ after a remount"; exit 1; }
sed 's/^/SUM /' /tmp/sums
echo "TREE $(wc -l < /tmp/sums) files $(du -sk $m/tree | cut -f1) KiB"
# The host looks at the processes while the guest lives, then says so.
if [ -n "${TREE_HOLD:-}" ] || grep -q vhx_hold /proc/cmdline; then
	echo "HOLD"
	read -r word
fi
umount $m

# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=dash
# Guest: a file system on the driver's disk, and what the driver counts of single requests; beside it a network
# interface, also across resizes of its rings, sockets, and a shared folder, and all of them after another backend took
# over.
# shellcheck source=hmx.sh
. /hmx.sh
# shellcheck source=hmx-net.sh
. /hmx-net.sh
# shellcheck source=hmx-fs.sh
. /hmx-fs.sh
truncate -s 64M /tmp/disk.img
devices='blk,id=disk0,file=/tmp/disk.img net,id=n0,end=tap:vm0
vsock,id=v0,uds-path=/tmp/v,guest-cid=42 vhost-user,type=fs,id=f0,socket=/tmp/fs.sock,tag=shared'
net_begin
fs_begin
# shellcheck disable=SC2086 # split into words on purpose
backend_start $devices
relay_start
wait_for /dev/vda [ -b /dev/vda ]
wait_for "a running disk" state_is disk0 running

# One request at a time costs one message each way, and nobody copies what it reads or writes in advance.
chains=$(value devices/disk0 queue0_chains)
messages=$(value channel data_messages)
dd if=/dev/vda of=/dev/null bs=4k count=64 iflag=direct 2>/dev/null || fail "read"
chains=$(($(value devices/disk0 queue0_chains) - chains))
messages=$(($(value channel data_messages) - messages))
[ $chains -eq 64 ] || fail "64 reads were $chains chains"
[ $messages -eq 64 ] || fail "64 reads were $messages messages"
refs=$(value devices/disk0 queue0_bytes_by_ref)
dd if=/dev/urandom of=/dev/vda bs=64k count=16 oflag=direct 2>/dev/null || fail "write"
refs=$(($(value devices/disk0 queue0_bytes_by_ref) - refs))
[ $refs -ge 1000000 ] || fail "of 1 MiB written, $refs bytes were sent from where they were"

mke2fs /dev/vda >/dev/null || fail "mke2fs"
net_up
net_try
wait_for "a running vsock" state_is v0 running
vsock_carry
fs_share first
sh /tree.sh || exit 1

lives=$(value channel lives)
backend_kill
fs_serve
# shellcheck disable=SC2086 # split into words on purpose
backend_start $devices
wait_for "the next life" at_least channel lives $((lives + 1))
wait_for "an answer behind another backend" ping -c 1 -W 1 10.9.0.1
net_pings
net_carry env host 10.9.0.1
net_carry host env 10.9.0.2
vsock_carry
fs_share second

relay_kill
wait_for "the end of the disk" absent /dev/vda
wait_for "the end of the interface" absent /sys/class/net/eth0
mount -t ext4 -o ro,loop /tmp/disk.img /mnt || fail "the image does not mount"
(cd /mnt/tree && sha256sum -c -s /tmp/sums) || fail "the image differs from what the guest wrote"
umount /mnt
driver_unload
backend_kill
echo "DISK-DONE $chains reads, $messages messages, $refs bytes sent in place"

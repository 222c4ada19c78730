#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# README's whole guest: disk, network, console, entropy and a shared folder, each from a process of its own, which has
# nothing of the guest's memory but a window that it shares with nobody else. A stock kernel, whose devices are all
# used: a file goes through the folder, over the network and onto the disk, and its sum to the console.
# shellcheck source=ivshmem.sh
. "$(dirname "$0")/ivshmem.sh"
need_file /usr/lib/qemu/virtiofsd qemu-system-common
need passt passt
[ "$(id -u)" -eq 0 ] || skip "virtiofsd makes namespaces: root is needed"
in_netns "$@"
uplink_make
run=$tmp/run
mkdir "$run" "$tmp/share"
head -c 3000001 /dev/urandom >"$tmp/share/file"
sum=$(sha256sum <"$tmp/share/file" | cut -d' ' -f1)
make_image "$tmp/disk.img" 32M

cat >"$tmp/run.sh" <<'GUEST'
set -eu
modprobe -a virtio_net virtio_console virtio-rng virtiofs
until [ -b /dev/vda ] && [ -e /sys/class/net/eth0 ] && [ -c /dev/hvc0 ]; do sleep 0.1; done
# Entropy: of the device, not of the processor.
until grep -q virtio_rng /sys/class/misc/hw_random/rng_available; do sleep 0.1; done
sed 's/.*\(virtio_rng.[0-9]*\).*/\1/' /sys/class/misc/hw_random/rng_available >/sys/class/misc/hw_random/rng_current
[ "$(head -c 64 /dev/hwrng | wc -c)" = 64 ]
mount -t virtiofs shared /mnt
ip link set eth0 up
udhcpc -i eth0 -n -q -t 20 -T 1 -s /dhcp.sh >/dev/null
until nc 10.8.0.1 5000 </mnt/file; do sleep 0.1; done
cat /mnt/file | dd of=/dev/vda bs=64k iflag=fullblock conv=fsync 2>/dev/null
umount /mnt
echo 3 >/proc/sys/vm/drop_caches
head -c 3000001 /dev/vda | sha256sum >/dev/hvc0
echo "HWRNG $(cat /sys/class/misc/hw_random/rng_current)"
echo ALL-USED
GUEST

# serve NAME SIZE DEVICE: a backend, and the window between it and the guest.
windows=()
serve() {
	start "be-$1" "$vhx_backend" --listen "unix:$run/$1.sock" --device "$3"
	wait_listening "be-$1" "$run/$1.sock"
	start "iv-$1" "$vhx_ivshmem" --connect "unix:$run/$1.sock" --qemu "$run/$1.iv,size=$2"
	wait_listening "iv-$1" "$run/$1.iv"
	windows+=(--ivshmem "$run/$1.iv")
}

start passt passt --foreground --stderr --socket "$run/passt.sock" --runas 0
wait_listening passt "$run/passt.sock"
start fsd /usr/lib/qemu/virtiofsd --socket-path="$run/fs.sock" -o "source=$tmp/share" -o sandbox=chroot -f
wait_listening fsd "$run/fs.sock"
serve disk 4M "blk,file=$tmp/disk.img"
serve net 4M "net,end=stream:$run/passt.sock"
serve console 1M "console,port0=file:$tmp/hvc0"
serve entropy 1M rng
serve share 4M "vhost-user,type=fs,socket=$run/fs.sock,tag=shared"
timeout "$vhx_guest_patience" python3 "$vhx_root/tests/e2e/tcp.py" receive 127.0.0.1 5000 >"$tmp/got" &
receiver=$!
boot_driver --private "${windows[@]}" --script "$tmp/run.sh" --add "$vhx_lab/guest/dhcp.sh" \
	--load virtio_hmx --load hmx_window --load hmx_ivshmem
guest_ok
guest_said '^ALL-USED' || fail "the guest did not come to its end"
guest_said '^HWRNG virtio_rng' || fail "the guest has other entropy than ours"
wait "$receiver"
assert_eq "what came by the network" "$(cat "$tmp/got")" "$sum"
assert_eq "what the disk holds" "$(head -c 3000001 "$tmp/disk.img" | sha256sum | cut -d' ' -f1)" "$sum"
assert_match "what the console said" "$(cat "$tmp/hvc0")" "$sum"
for n in disk net console entropy share; do
	stop "iv-$n"
	stop "be-$n"
done
echo "five devices of five processes, one file through four of them"

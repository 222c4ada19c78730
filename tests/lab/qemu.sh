#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# qemu.sh: boots a stock Debian kernel under QEMU (software emulation: no hardware virtualisation is
# needed) with disks on vhost-user sockets, or windows of ivshmem, and runs a script in it.
set -u
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=guest.sh
. "$here/guest.sh"

usage() {
	echo "usage: qemu.sh [OPTION]..."
	guest_usage
	cat <<-'TEXT'
	  --kernel V       Debian's kernel 6.1 (default), 6.12, or sid for its newest
	  --arch A         amd64 (default) or arm64
	  --packed         packed virtqueues
	  --queues N       number of queues of each disk (default 1)
	  --no-event-idx   without VIRTIO_RING_F_EVENT_IDX
	  --no-indirect    without VIRTIO_RING_F_INDIRECT_DESC
	  --iommu          the driver uses the platform's DMA addresses
	  --reconnect S    QEMU reconnects after S seconds when the socket closes
	  --smp N          processors of the guest (default 1)
	  --device-option X  any other property of the devices; may be repeated
	  --ivshmem SOCKET[,id=ID]  a window from this ivshmem server, behind a root port of its own, so that
	                   it can be unplugged as ID (default iv0, iv1, ...); may be repeated
	  --drive FILE     a disk of QEMU's own virtio-blk-pci on a raw image, behind all others
	  --netdev OPTIONS  an interface of QEMU's own virtio-net-pci on this -netdev (without id=), behind all others;
	                   may be repeated
	  --private        guest memory is not shared with anybody
	  --monitor PATH   a QMP socket, see qmp.py
	  --incoming URI   wait for a guest that migrates from another QEMU, and let it stand when it has come
	  --reboot         a reset of the guest boots it again instead of ending QEMU
	  --export DIR     boots nothing: leaves vmlinuz, initrd and cmdline in DIR, for another program to boot
	TEXT
}

props='' chardev='' smp=1 queues=1 kernel=6.1 arch=amd64 ivshmem=() drives=() netdevs=() machine=()
memory=shared reboot=(-no-reboot) export=''
while [ $# -gt 0 ]; do
	case $1 in
	--packed) props+=,packed=on; shift; continue ;;
	--no-event-idx) props+=,event_idx=off; shift; continue ;;
	--no-indirect) props+=,indirect_desc=off; shift; continue ;;
	--iommu) props+=,iommu_platform=on; shift; continue ;;
	--private) memory=private; shift; continue ;;
	--reboot) reboot=(); shift; continue ;;
	--queues) queues=$2; shift 2; continue ;;
	--reconnect) chardev+=",reconnect=$2"; shift 2; continue ;;
	--smp) smp=$2; shift 2; continue ;;
	--device-option) props+=",$2"; shift 2; continue ;;
	--kernel) kernel=$2; shift 2; continue ;;
	--arch) arch=$2; shift 2; continue ;;
	--ivshmem) ivshmem+=("$2"); shift 2; continue ;;
	--incoming) machine+=(-incoming "$2" -S); shift 2; continue ;;
	--drive) drives+=("$2"); shift 2; continue ;;
	--netdev) netdevs+=("$2"); shift 2; continue ;;
	--export) export=$2; shift 2; continue ;;
	--monitor) machine+=(-qmp "unix:$2,server=on,wait=off"); shift 2; continue ;;
	esac
	guest_option "$1" "${2-}"
	if [ "$guest_shift" -eq 0 ]; then
		usage
		[ "$1" = --help ]
		exit $((2 * $?))
	fi
	shift "$guest_shift"
done

case $arch in
amd64)
	program=qemu-system-x86_64 package=qemu-system-x86 console=ttyS0
	# With these two the kernel copies by rep movsb, which the emulation does byte by byte.
	machine+=(-M q35 -cpu "max,-erms,-fsrm")
	;;
arm64)
	program=qemu-system-aarch64 package=qemu-system-arm console=ttyAMA0
	machine+=(-M virt -cpu cortex-a57)
	;;
*) echo "qemu.sh: no guest for $arch" >&2; exit 2 ;;
esac
command -v $program >/dev/null || { echo "qemu.sh: package $package is needed" >&2; exit 77; }
dir=$("$here/guest-qemu.sh" "$kernel" "$arch") || exit
guest_prepare "$dir"
cmdline="console=$console quiet panic=-1 $guest_append"
if [ -n "$export" ]; then
	cp "$dir/vmlinuz" "$guest_tmp/initrd" "$export/" && echo "$cmdline" >"$export/cmdline"
	exit
fi

devices=() n=0
for d in ${guest_disks[@]+"${guest_disks[@]}"}; do
	devices+=(-chardev "socket,id=c$n,path=$d$chardev"
		-device "vhost-user-blk-pci,id=d$n,chardev=c$n,num-queues=$queues$props")
	n=$((n + 1))
done
for d in ${guest_devices[@]+"${guest_devices[@]}"}; do
	devices+=(-chardev "socket,id=c$n,path=${d#*:}$chardev")
	case $d in
	# The one that is not a device of its own, but a netdev of QEMU's virtio-net.
	net:*) devices+=(-netdev "vhost-user,id=net$n,chardev=c$n,queues=$queues"
		-device "virtio-net-pci,id=d$n,netdev=net$n,mq=$([ "$queues" -eq 1 ] && echo off || echo on)$props") ;;
	*) devices+=(-device "vhost-user-${d%%:*}-pci,id=d$n,chardev=c$n$props") ;;
	esac
	n=$((n + 1))
done
n=0
for d in ${ivshmem[@]+"${ivshmem[@]}"}; do
	id=iv$n
	case $d in *,id=*) id=${d##*,id=} ;; esac
	devices+=(-device "pcie-root-port,id=rp$n,chassis=$((n + 1)),slot=$((n + 1))"
		-chardev "socket,id=ch-$id,path=${d%,id=*}"
		-device "ivshmem-doorbell,id=$id,bus=rp$n,chardev=ch-$id,vectors=1")
	n=$((n + 1))
done
n=0
for d in ${drives[@]+"${drives[@]}"}; do
	devices+=(-drive "file=$d,format=raw,if=none,id=own$n" -device "virtio-blk-pci,drive=own$n")
	n=$((n + 1))
done
n=0
for d in ${netdevs[@]+"${netdevs[@]}"}; do
	devices+=(-netdev "$d,id=own-net$n" -device "virtio-net-pci,netdev=own-net$n")
	n=$((n + 1))
done
if [ $memory = shared ]; then
	# shellcheck disable=SC2054 # one word of QEMU's
	machine+=(-object "memory-backend-memfd,id=mem,size=$guest_mem,share=on" -numa node,memdev=mem)
fi
guest_run $program "${machine[@]}" -accel tcg,thread=multi -smp "$smp" -m "$guest_mem" \
	-kernel "$dir/vmlinuz" -initrd "$guest_tmp/initrd" \
	-append "$cmdline" \
	-nodefaults -no-user-config ${reboot[@]+"${reboot[@]}"} -display none -serial stdio \
	-monitor none ${devices[@]+"${devices[@]}"}

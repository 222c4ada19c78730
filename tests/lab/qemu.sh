#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# qemu.sh: boots a stock Debian kernel under QEMU (software emulation: no hardware virtualisation is
# needed) with disks on vhost-user sockets and runs a script in it.
set -u
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=guest.sh
. "$here/guest.sh"

usage() {
	echo "usage: qemu.sh [OPTION]..."
	guest_usage
	cat <<-'TEXT'
	  --packed         packed virtqueues
	  --queues N       number of queues of each disk (default 1)
	  --no-event-idx   without VIRTIO_RING_F_EVENT_IDX
	  --no-indirect    without VIRTIO_RING_F_INDIRECT_DESC
	  --iommu          the driver uses the platform's DMA addresses
	  --reconnect S    QEMU reconnects after S seconds when the socket closes
	  --smp N          processors of the guest (default 1)
	  --device-option X  any other property of the devices; may be repeated
	TEXT
}

props='' chardev='' smp=1 queues=1
while [ $# -gt 0 ]; do
	case $1 in
	--packed) props+=,packed=on; shift; continue ;;
	--no-event-idx) props+=,event_idx=off; shift; continue ;;
	--no-indirect) props+=,indirect_desc=off; shift; continue ;;
	--iommu) props+=,iommu_platform=on; shift; continue ;;
	--queues) queues=$2; shift 2; continue ;;
	--reconnect) chardev+=",reconnect=$2"; shift 2; continue ;;
	--smp) smp=$2; shift 2; continue ;;
	--device-option) props+=",$2"; shift 2; continue ;;
	esac
	guest_option "$1" "${2-}"
	if [ "$guest_shift" -eq 0 ]; then
		usage
		[ "$1" = --help ]
		exit $((2 * $?))
	fi
	shift "$guest_shift"
done

command -v qemu-system-x86_64 >/dev/null ||
	{ echo "qemu.sh: package qemu-system-x86 is needed" >&2; exit 77; }
dir=$("$here/guest-qemu.sh") || exit
guest_prepare "$dir"
devices=() n=0
for d in ${guest_disks[@]+"${guest_disks[@]}"}; do
	devices+=(-chardev "socket,id=c$n,path=$d$chardev"
		-device "vhost-user-blk-pci,id=d$n,chardev=c$n,num-queues=$queues$props")
	n=$((n + 1))
done
for d in ${guest_devices[@]+"${guest_devices[@]}"}; do
	devices+=(-chardev "socket,id=c$n,path=${d#*:}$chardev"
		-device "vhost-user-${d%%:*}-pci,id=d$n,chardev=c$n$props")
	n=$((n + 1))
done
guest_run qemu-system-x86_64 -M q35 -accel tcg,thread=multi -cpu max -smp "$smp" \
	-m "$guest_mem" -object "memory-backend-memfd,id=mem,size=$guest_mem,share=on" \
	-numa node,memdev=mem -kernel "$dir/vmlinuz" -initrd "$guest_tmp/initrd" \
	-append "console=ttyS0 quiet panic=-1 $guest_append" \
	-nodefaults -no-user-config -no-reboot -display none -serial stdio -monitor none \
	${devices[@]+"${devices[@]}"}

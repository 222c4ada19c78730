#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# xen.sh: boots the lab's Xen and a dom0 under QEMU (software emulation: no hardware virtualisation is needed)
# and runs a script in dom0, which can create, use and destroy domUs: see guest/xen.sh, which is there as /xen.sh.
set -u
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=guest.sh
. "$here/guest.sh"

usage() {
	echo "usage: xen.sh [OPTION]..."
	guest_usage
	cat <<-'TEXT'
	  --argo WORDS     Xen's argo= (default 1,mac-permissive=0; 0 turns Argo off)
	  --xsm WORDS      the access control, as words of Xen's command line, such as "xsm=silo"
	  --policy FILE    a Flask policy to boot with
	  --smp N          processors of the machine (default 1)
	The memory is that of the machine; dom0 has 1 GiB of it. Disks and devices are for other runners.
	TEXT
}

argo=1,mac-permissive=0 xsm='' policy='' smp=1 guest_mem=2560M
while [ $# -gt 0 ]; do
	case $1 in
	--argo) argo=$2; shift 2; continue ;;
	--xsm) xsm=$2; shift 2; continue ;;
	--policy) policy=$2; shift 2; continue ;;
	--smp) smp=$2; shift 2; continue ;;
	esac
	guest_option "$1" "${2-}"
	if [ "$guest_shift" -eq 0 ]; then
		usage
		[ "$1" = --help ]
		exit $((2 * $?))
	fi
	shift "$guest_shift"
done
if [ ${#guest_disks[@]} -gt 0 ] || [ ${#guest_devices[@]} -gt 0 ]; then
	echo "xen.sh: a dom0 has no vhost-user devices" >&2
	exit 2
fi

command -v qemu-system-x86_64 >/dev/null ||
	{ echo "xen.sh: package qemu-system-x86 is needed" >&2; exit 77; }
dir=$("$here/guest-xen.sh") || exit
guest_files+=("$here/guest/xen.sh" "$here/guest/domu.sh")
guest_archives+=("$dir/dom0.cpio")
guest_prepare "$dir"

# What dom0 got beside its initramfs is for domUs too: archives that their own are put together from.
mkdir "$guest_tmp/domu"
[ ! -e "$guest_tmp/programs.cpio" ] || mv "$guest_tmp/programs.cpio" "$guest_tmp/domu/"
[ $guest_fio = no ] || cp "$dir/fio.cpio" "$guest_tmp/domu/"
(cd "$guest_tmp" && find domu -type f | cpio -o -H newc -R 0:0 --quiet) >>"$guest_tmp/initrd"

# What guards real processors against their flaws costs an emulated one most of its time.
fast="spec-ctrl=no xpti=no pv-l1tf=no bootscrub=no"
# What this emulation of a processor gets wrong: dom0 crashes (smap), PVH domUs do (rdtscp), programs lose their
# thread pointer when a PVH domU runs beside them (fsgsbase).
cpu=max,-smap,-rdtscp,-fsgsbase,-xsave
# Multiboot modules are separated by commas, so that the command line of dom0 can't have any.
modules="$dir/vmlinux console=hvc0 quiet panic=-1 mitigations=off $guest_append,$guest_tmp/initrd"
[ -z "$policy" ] || modules+=,$policy
guest_run qemu-system-x86_64 -M pc -accel tcg,thread=multi -cpu "$cpu" -smp "$smp" -m "$guest_mem" \
	-kernel "$dir/xen" -append "argo=$argo $xsm $fast console=com1 com1=115200 dom0_mem=1024M,max:1024M \
conring_size=128k loglvl=all guest_loglvl=all" \
	-initrd "$modules" \
	-nodefaults -no-user-config -no-reboot -display none -serial stdio -monitor none

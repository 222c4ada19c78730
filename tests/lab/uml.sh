#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# uml.sh: boots User-Mode Linux with disks on vhost-user sockets and runs a script in it: Debian's, or the
# lab's own one with KASAN, lockdep and modules.
set -u
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=guest.sh
. "$here/guest.sh"

# UML keeps guest memory in a file that it maps executable: not every /dev/shm allows that, and in
# a container it may be smaller than the guest.
memory_dir() {
	local dir opts free
	for dir in ${VHX_UML_TMP:-} /dev/shm "${TMPDIR:-/tmp}" /var/tmp; do
		[ -w "$dir" ] || continue
		opts=$(findmnt -n -o OPTIONS -T "$dir" 2>/dev/null)
		case ,$opts, in *,noexec,*) continue ;; esac
		free=$(df -Pm "$dir" | awk 'NR == 2 { print $4 }')
		[ "$free" -ge $((${guest_mem%M} + 16)) ] && { echo "$dir"; return; }
	done
	echo "uml.sh: no directory for guest memory allows execution and has $guest_mem free" >&2
	return 1
}

# virtio_id TYPE: its number in VirtIO 5.
virtio_id() {
	case $1 in
	net) echo 1 ;;
	blk) echo 2 ;;
	console) echo 3 ;;
	rng) echo 4 ;;
	scsi) echo 8 ;;
	vsock) echo 19 ;;
	fs) echo 26 ;;
	*) echo "uml.sh: unknown device type $1" >&2; return 1 ;;
	esac
}

kind=uml
while [ $# -gt 0 ]; do
	case $1 in
	--own) kind=umlk; shift; continue ;;
	esac
	guest_option "$1" "${2-}"
	if [ "$guest_shift" -eq 0 ]; then
		echo "usage: uml.sh [OPTION]..."
		guest_usage
		echo "  --own            the kernel of guest-umlk.sh instead of Debian's"
		[ "$1" = --help ]
		exit $((2 * $?))
	fi
	shift "$guest_shift"
done

dir=$("$here/guest-$kind.sh") || exit
TMPDIR=$(memory_dir) || exit 77
guest_prepare "$dir"
export TMPDIR
devices=()
for d in ${guest_disks[@]+"${guest_disks[@]}"}; do
	devices+=("virtio_uml.device=$d:2")
done
for d in ${guest_devices[@]+"${guest_devices[@]}"}; do
	id=$(virtio_id "${d%%:*}") || exit 2
	devices+=("virtio_uml.device=${d#*:}:$id")
done
# shellcheck disable=SC2086 # the words of guest_append are words of the command line
guest_run "$dir/linux" "mem=$guest_mem" "initrd=$guest_tmp/initrd" \
	${devices[@]+"${devices[@]}"} con0=fd:0,fd:1 con=null ssl=null \
	"uml_dir=$guest_tmp/" "umid=guest" selinux=0 quiet loglevel=2 $guest_append

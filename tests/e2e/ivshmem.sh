# SPDX-License-Identifier: BSD-3-Clause
# Sourced: a stock kernel under QEMU with the guest's driver, whose memory nobody shares; its disk comes
# through a window of ivshmem. The kernel is VHX_KERNEL, one that need_kernel knows (default 6.1).
# shellcheck shell=bash
# shellcheck source=../lab/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/../lab/lib.sh"
need_programs
need_kernel "${VHX_KERNEL:-6.1}"

# What its backend serves: the words of a test that wants more than a disk.
ivshmem_devices=()

# ivshmem_serve: the backend, also another one in the place of the last.
ivshmem_serve() {
	start_backend ${ivshmem_devices[@]+"${ivshmem_devices[@]}"}
}

# ivshmem_boot SCRIPT OPTION...: backend, helper, and a guest that runs the script once its disk is there.
# In the guest, wait_disk NAME waits for any other one.
ivshmem_boot() {
	local script=$1
	shift
	cat - "$script" >"$tmp/script" <<-'GUEST'
		wait_disk() {
			until [ -b "/dev/$1" ]; do
				sleep 0.1
			done
		}
		mount -t debugfs debug /sys/kernel/debug
		wait_disk vda
	GUEST
	ivshmem_serve
	start_ivshmem
	boot_driver --private --ivshmem "$tmp/iv.sock" --script "$tmp/script" \
		--load virtio_hmx --load hmx_window --load hmx_ivshmem "$@"
}

# ivshmem_end: the guest's verdict, and that the programs end well.
ivshmem_end() {
	guest_ok
	stop ivshmem
	stop backend
	for d in backend ivshmem; do
		assert_no_log $d 'Sanitizer|runtime error|Assertion|broke'
	done
}

completed() { stats "$tmp/be.ctl" "s['devices'][0]['completed']"; }
moved_on() { [ "$(completed)" -gt "$1" ]; }

# wait_moved WHAT: until the disk has served 200 more requests.
wait_moved() {
	local before
	before=$(completed) || exit 1
	wait_for "$1" "$vhx_guest_patience" moved_on $((before + 200))
}

# SPDX-License-Identifier: BSD-3-Clause
# Sourced: the whole way of a disk, once. A guest mounts ext4, writes a tree, unmounts, mounts again and
# compares; the backend meanwhile sees none of its memory; then the host checks the image.
# shellcheck shell=bash
# shellcheck source=../lab/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/../lab/lib.sh"

# disk_flow KIND RUNNER_OPTION...: disk_queues is the number of queues of the device.
disk_queues=${disk_queues:-1}
disk_flow() {
	local kind=$1
	shift
	need_programs
	"need_$kind"
	need debugfs e2fsprogs
	make_image "$tmp/disk.img" 128M ext4
	start_backend --device "blk,id=disk0,file=$tmp/disk.img,num-queues=$disk_queues"
	start_frontend
	boot "$kind" --disk "$tmp/vm.sock" --script "$vhx_lab/guest/tree.sh" \
		--append vhx_hold=1 "$@"
	wait_guest '^HOLD'
	isolation "$(cat "$tmp/guest.pid")" "${daemon_pid[frontend]}" "${daemon_pid[backend]}"
	assert_eq "device state" "$(stats "$tmp/fe.ctl" "s['devices'][0]['state']")" running
	say go
	guest_ok
	assert_eq "all requests completed" \
		"$(stats "$tmp/fe.ctl" "all(d['requests'] == d['completed'] > 100 for d in s['devices'])")" True
	stop frontend
	stop backend
	check_image "$tmp/disk.img" "$tmp/guest.log"
	for d in backend frontend; do
		assert_no_log $d 'Sanitizer|runtime error|Assertion'
	done
}

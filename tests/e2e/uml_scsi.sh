#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# SCSI disks in a guest under User-Mode Linux: a file system, other people's programs for SCSI, a read-only unit, one
# that grows, and a verify load under which the backend is killed: commands are sent again, none fails.
# shellcheck source=../lab/lib.sh
. "$(dirname "$0")/../lab/lib.sh"
need_programs
need_uml
need fio fio
need debugfs e2fsprogs
need sg_inq sg3-utils
programs=()
for p in sg_luns sg_turs sg_inq sg_vpd sg_readcap sg_modes sg_dd sg_unmap sg_write_same sg_verify sg_sync sg_reset; do
	programs+=(--program "$(command -v $p)")
done
make_image "$tmp/0.img" 128M ext4
make_image "$tmp/1.img" 32M
make_image "$tmp/2.img" 48M

serve_scsi() {
	start_backend --device "scsi,id=s0,lun0=$tmp/0.img,serial0=serial-zero,lun1=$tmp/1.img,readonly1,lun2=$tmp/2.img,num-queues=2"
}

serve_scsi
start_frontend --vhost-user "$tmp/vm.sock,id=s0"
boot uml --fio --mem 384M --device "scsi:$tmp/vm.sock" --script "$vhx_lab/guest/scsi.sh" \
	--add "$vhx_lab/guest/tree.sh" --add "$vhx_lab/guest/verify.sh" "${programs[@]}" \
	--append "vhx_size=32 vhx_until=word"
wait_guest '^RESIZE'
truncate -s 64M "$tmp/2.img"

completed() { stats "$tmp/fe.ctl" "s['devices'][0]['completed']"; }
in_flight() { [ "$(stats "$tmp/fe.ctl" "s['devices'][0]['requests'] > s['devices'][0]['completed'] + 8")" = True ]; }
moved_on() { [ "$(completed)" -gt "$1" ]; }
wait_guest '^VERIFY-START'
for n in 1 2; do
	before=$(completed) || exit 1
	wait_for "commands before kill $n" "$vhx_guest_patience" moved_on $((before + 200))
	# Sure to hit commands in flight, besides the buffers for events.
	kill -STOP "${daemon_pid[backend]}"
	wait_for "commands in flight before kill $n" "$vhx_guest_patience" in_flight
	crash backend
	before=$(completed) || exit 1
	serve_scsi
	wait_for "commands after kill $n" "$vhx_guest_patience" moved_on $((before + 200))
done
say stop
guest_ok
guest_said '^SCSI-DONE' || fail "the guest did not come to its end"
replays=$(stats "$tmp/fe.ctl" "s['devices'][0]['replays']")
[ "$replays" -gt 16 ] || fail "$replays commands and buffers were sent again, though kills hit commands in flight"
stop frontend
stop backend
check_image "$tmp/0.img" "$tmp/guest.log"

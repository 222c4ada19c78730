# SPDX-License-Identifier: BSD-3-Clause
# Sourced: the frontend dies under QEMU (reconnect=1), again and again, and is started anew: the guest's
# I/O stalls and goes on. Every kill is sure to hit requests in flight, which the next frontend takes from
# the region that QEMU keeps: the backend is stopped until some wait for it.
# shellcheck shell=bash
# shellcheck source=../lab/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/../lab/lib.sh"

completed() { stats "$tmp/fe.ctl" "s['devices'][0]['completed']"; }
in_flight() { [ "$(stats "$tmp/fe.ctl" "s['devices'][0]['requests'] > s['devices'][0]['completed']")" = True ]; }
moved_on() { [ "$(completed)" -gt "$1" ]; }
resubmissions() { grep -c 'of a predecessor go out again' "$tmp/frontend.log"; }

# reconnect_flow RUNNER_OPTION...: reconnect_queues is the number of queues of the device,
# reconnect_packed is 1 where they have to be packed.
reconnect_queues=${reconnect_queues:-1}
reconnect_packed=${reconnect_packed:-0}
reconnect_flow() {
	local kills=${VHX_KILLS:-4} n before
	[ -z "${VHX_TORTURE:-}" ] || kills=${VHX_KILLS:-40}
	need_programs
	need_qemu 6.1
	need fio fio
	make_image "$tmp/disk.img" 64M
	start_backend --device "blk,id=disk0,file=$tmp/disk.img,num-queues=$reconnect_queues"
	start_frontend
	# Feature bit 34 is RING_PACKED, counted from the left.
	{
		# shellcheck disable=SC2016 # the guest expands it
		echo 'echo "RING_PACKED $(cut -c 35 /sys/block/vda/device/features)"'
		cat "$vhx_lab/guest/verify.sh"
	} >"$tmp/script"
	boot qemu --fio --mem 384M --disk "$tmp/vm.sock" --reconnect 1 \
		--script "$tmp/script" --append 'vhx_until=word vhx_size=16' "$@"
	wait_guest '^VERIFY-START'
	guest_said "^RING_PACKED $reconnect_packed" || fail "the ring is of the other format"
	for n in $(seq "$kills"); do
		before=$(completed) || exit 1
		wait_for "requests before kill $n" "$vhx_guest_patience" moved_on $((before + 200))
		kill -STOP "${daemon_pid[backend]}"
		wait_for "requests in flight before kill $n" "$vhx_guest_patience" in_flight
		crash frontend
		before=$(resubmissions)
		# The backend may go on before anybody is there again, or meet old and new frontend at once.
		[ $((n % 2)) -eq 0 ] || kill -CONT "${daemon_pid[backend]}"
		start_frontend
		[ $((n % 2)) -ne 0 ] || kill -CONT "${daemon_pid[backend]}"
		wait_for "requests after kill $n" "$vhx_guest_patience" moved_on 200
		[ "$(resubmissions)" -gt "$before" ] || fail "nothing was sent again after kill $n"
	done
	say stop
	guest_ok
	guest_said '^VERIFY-DONE [1-9]' || fail "the guest verified nothing"
	assert_eq "all requests completed" \
		"$(stats "$tmp/fe.ctl" "all(d['requests'] == d['completed'] > 100 for d in s['devices'])")" True
	stop frontend
	stop backend
	for d in backend frontend; do
		assert_no_log $d 'Sanitizer|runtime error|Assertion|broken'
	done
	grep -o '[0-9]* requests of a predecessor.*' "$tmp/frontend.log"
	echo "$kills kills, no mismatch"
}

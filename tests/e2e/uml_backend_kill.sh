#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# The backend is killed with -9 under a verify load, again and again, and started anew: the guest notices a
# pause only, no block is lost or wrong, and no request fails.
# shellcheck source=../lab/lib.sh
. "$(dirname "$0")/../lab/lib.sh"
kills=${VHX_KILLS:-4}
[ -z "${VHX_TORTURE:-}" ] || kills=${VHX_KILLS:-40}
need_programs
need_uml
need fio fio
make_image "$tmp/disk.img" 64M
start_backend
start_frontend

completed() { stats "$tmp/fe.ctl" "s['devices'][0]['completed']"; }
in_flight() { [ "$(stats "$tmp/fe.ctl" "s['devices'][0]['requests'] > s['devices'][0]['completed']")" = True ]; }
moved_on() { [ "$(completed)" -gt "$1" ]; }

boot uml --fio --mem 384M --disk "$tmp/vm.sock" --script "$vhx_lab/guest/verify.sh" \
	--append vhx_until=word
wait_guest '^VERIFY-START'
for n in $(seq "$kills"); do
	# Killed in the middle of the load, not between two loads.
	before=$(completed) || exit 1
	wait_for "requests before kill $n" "$vhx_guest_patience" moved_on $((before + 200))
	# Every other kill is sure to hit requests in flight: the backend is stopped until some wait for it.
	if [ $((n % 2)) -eq 1 ]; then
		kill -STOP "${daemon_pid[backend]}"
		wait_for "requests in flight before kill $n" "$vhx_guest_patience" in_flight
	fi
	crash backend
	# A pause long enough for the frontend to meet a socket that nobody serves, every other time.
	[ $((n % 2)) -eq 0 ] || sleep 0.5
	before=$(completed) || exit 1
	start_backend
	wait_for "requests after kill $n" "$vhx_guest_patience" moved_on $((before + 200))
	alive frontend || fail "the frontend did not survive kill $n"
done
say stop
guest_ok
guest_said '^VERIFY-DONE [1-9]' || fail "the guest verified nothing"
replays=$(stats "$tmp/fe.ctl" "s['devices'][0]['replays']")
[ "$replays" -gt 0 ] || fail "no request was sent again, though kills hit requests in flight"
echo "$kills kills, $replays requests sent again, no mismatch"
stop frontend
stop backend

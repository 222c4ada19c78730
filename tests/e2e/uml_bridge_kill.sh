#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# A disk of qemu-storage-daemon's behind the exchange: under a verify load its daemon is killed with -9 and started
# anew, again and again. The guest notices a pause only: no block is lost or wrong, and no request fails. The daemon
# has nothing of the guest's memory meanwhile.
# shellcheck source=bridge.sh
. "$(dirname "$0")/bridge.sh"
kills=${VHX_KILLS:-3}
[ -z "${VHX_TORTURE:-}" ] || kills=${VHX_KILLS:-30}
need_programs
need_uml
need_storage_daemon
need fio fio
make_image "$tmp/disk.img" 64M

daemon() {
	start_storage_daemon --blockdev "driver=file,node-name=d,filename=$tmp/disk.img" \
		--export "type=vhost-user-blk,id=e,node-name=d,writable=on,num-queues=2,addr.type=unix,addr.path=$tmp/qsd.sock"
}

completed() { stats "$tmp/fe.ctl" "s['devices'][0]['completed']"; }
moved_on() { [ "$(completed)" -gt "$1" ]; }
in_flight() { [ "$(stats "$tmp/fe.ctl" "s['devices'][0]['requests'] > s['devices'][0]['completed']")" = True ]; }

daemon
start_backend --device "vhost-user,type=blk,id=disk0,socket=$tmp/qsd.sock,cache=host"
start_frontend
boot uml --fio --mem 384M --disk "$tmp/vm.sock" --script "$vhx_lab/guest/verify.sh" --append vhx_until=word
wait_guest '^VERIFY-START'
isolation "$(cat "$tmp/guest.pid")" "${daemon_pid[frontend]}" "${daemon_pid[qsd]}"
for n in $(seq "$kills"); do
	before=$(completed) || exit 1
	wait_for "requests before kill $n" "$vhx_guest_patience" moved_on $((before + 200))
	# Stopped until requests wait for it, so that the kill is sure to hit some.
	kill -STOP "${daemon_pid[qsd]}"
	wait_for "requests in flight before kill $n" "$vhx_guest_patience" in_flight
	crash qsd
	# A pause long enough to meet nobody, every other time.
	[ $((n % 2)) -eq 0 ] || sleep 0.5
	before=$(completed) || exit 1
	daemon
	wait_for "requests after kill $n" "$vhx_guest_patience" moved_on $((before + 200))
	alive backend || fail "the backend did not survive kill $n"
done
say stop
guest_ok
guest_said '^VERIFY-DONE [1-9]' || fail "the guest verified nothing"
assert_eq "connections again" "$(grep -c 'connected again' "$tmp/backend.log")" "$kills"
stop frontend
stop backend
stop qsd
echo "$kills kills, no mismatch"

#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# The backend is killed with -9 under a verify load, again and again, and started anew: QEMU, helper and
# window stay, the guest notices a pause only.
# shellcheck source=ivshmem.sh
. "$(dirname "$0")/ivshmem.sh"
kills=${VHX_KILLS:-4}
[ -z "${VHX_TORTURE:-}" ] || kills=${VHX_KILLS:-40}
need fio fio
make_image "$tmp/disk.img" 64M
{
	# What was in flight when it died goes out again: at the end, how much that was.
	cat "$vhx_lab/guest/verify.sh"
	echo 'cat /sys/kernel/debug/virtio_hmx/hmx*/channel /sys/kernel/debug/virtio_hmx/hmx*/devices/*'
} >"$tmp/verify.sh"
# guest_sent: how much the guest has put into the window: tx_idx of its section, docs/wire.md, section 14.
guest_sent() {
	local fd
	for fd in "/proc/${daemon_pid[ivshmem]}"/fd/*; do
		case $(readlink "$fd") in
		*memfd:vhx-window*) od -An -tu4 -j $((2 * 1048576 + 128)) -N 4 "$fd"; return ;;
		esac
	done
	fail "the helper has no window"
}
sent_more() { [ "$(guest_sent)" != "$1" ]; }

ivshmem_boot "$tmp/verify.sh" --fio --mem 384M --smp 2 --append 'vhx_until=word vhx_size=16'
wait_guest '^VERIFY-START'
for n in $(seq "$kills"); do
	wait_moved "requests before kill $n"
	# Every other kill is sure to hit requests in flight: the backend is stopped until some wait for it.
	if [ $((n % 2)) -eq 1 ]; then
		kill -STOP "${daemon_pid[backend]}"
		before=$(guest_sent)
		wait_for "requests in flight before kill $n" "$vhx_guest_patience" sent_more "$before"
	fi
	crash backend
	# A pause long enough for the helper to meet a socket that nobody serves, every other time.
	[ $((n % 2)) -eq 0 ] || sleep 0.5
	start_backend
	wait_for "requests after kill $n" "$vhx_guest_patience" moved_on 200
done
say stop
ivshmem_end
guest_said '^VERIFY-DONE [1-9]' || fail "the guest verified nothing"
number() { sed -n "s/\r//g; s/^$1 //p" "$tmp/guest.log" | tail -n 1; }
assert_eq "lives of the channel" "$(number lives)" $((kills + 1))
[ "$(number replays)" -gt 0 ] || fail "no request was sent again, though kills hit requests in flight"
echo "$kills kills, $(number replays) requests sent again, no mismatch"

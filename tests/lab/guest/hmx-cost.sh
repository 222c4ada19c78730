# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=dash
# Guest: what the driver and a backend pay for requests, in their own counters. Every bound is a count per
# request, and holds for every run, whatever the machine does meanwhile.
# shellcheck source=hmx.sh
. /hmx.sh
disk=devices/disk0
truncate -s 64M /tmp/disk.img
vhx-backend --listen unix:/tmp/be.sock --control /tmp/be.ctl --device blk,id=disk0,file=/tmp/disk.img \
	>>/tmp/backend.log 2>&1 &
backend=$!
wait_for "the backend" [ -S /tmp/be.ctl ]
# Rings of 1 MiB, as vhx-ivshmem makes them: a batch of 128 KiB is less than the quarter that costs a bare CREDIT.
relay_size=4194304
relay_start
wait_for /dev/vda [ -b /dev/vda ]
wait_for "a running disk" state_is disk0 running

# of_backend NAME: a counter of its only channel.
of_backend() {
	vhxctl stats /tmp/be.ctl | sed -n "s/.*\"$1\":\([0-9]*\).*/\1/p"
}

# now: what both sides have counted so far: sends, bare credits, wakes; and what the driver has of its queue.
now() {
	echo "$(($(value channel sends) + $(of_backend sends)))" \
		"$(($(value channel credits_sent) + $(of_backend credits_sent)))" \
		"$(($(value channel wakes_sent) + $(of_backend wakes_sent)))" \
		"$(value channel wakes_sent)" \
		"$(value $disk queue0_notifies)" "$(value $disk queue0_chains)" \
		"$(value $disk queue0_bytes_copied)" "$(value $disk queue0_bytes_by_ref)" \
		"$(value channel data_messages)"
}

# spent WHAT COMMAND...: sets sends, credits, wakes, bells (of the driver's), notifies, chains, copied, refs and
# messages (of data, the driver's) to what the command cost.
spent() {
	what=$1
	shift
	before=$(now)
	"$@" >/tmp/spent.log 2>&1 || { cat /tmp/spent.log; fail "$what failed"; }
	# shellcheck disable=SC2046,SC2086 # split into words on purpose
	set -- $before $(now)
	sends=$((${10} - $1)) credits=$((${11} - $2)) wakes=$((${12} - $3)) bells=$((${13} - $4))
	notifies=$((${14} - $5)) chains=$((${15} - $6)) copied=$((${16} - $7)) refs=$((${17} - $8))
	messages=$((${18} - $9))
	echo "COST $what: $chains requests, $notifies notifies, $sends sends ($credits credits, $messages of data)," \
		"$wakes wakes ($bells bells), $copied bytes copied, $refs in place"
	# A doorbell goes with a message, and only where that finds the backend asleep.
	[ $bells -le $((messages + credits)) ] || fail "$what: $bells doorbells for $messages messages"
}

# batches ACCESS: requests of 4 KiB, 32 under one notify; the next come when all have been completed.
batches() {
	spent "batches of 32, $1" disk-batch /dev/vda "$1" 4096 10 32 32
	[ "$chains/$notifies" = 320/10 ] || fail "$1: these were no batches of 32"
	[ $messages -eq $notifies ] || fail "$1: a notify is $messages / $notifies messages"
	[ $((sends * 100)) -le $((chains * 13)) ] || fail "$1: more than 0.13 sends per request"
	[ $((wakes * 100)) -le $((chains * 20)) ] || fail "$1: more than 0.2 wakes per request"
}

# singles ACCESS: one request at a time.
singles() {
	spent "one by one, $1" disk-batch /dev/vda "$1" 4096 64 1 1
	[ $chains -eq 64 ] || fail "$1: 64 requests were $chains"
	[ $sends -eq $((2 * chains + credits)) ] || fail "$1: one request is not two sends"
	[ $wakes -le $((2 * chains + credits)) ] || fail "$1: more wakes than sends"
}

max=$(value channel max_message)
# large ACCESS: requests of which each is several messages.
large() {
	spent "1 MiB, $1" disk-batch /dev/vda "$1" 1048576 8 1 1
	each=$((8 * 1048576 / chains))
	[ $((each * chains)) -eq $((8 * 1048576)) ] || fail "$1: requests of unequal size"
	[ $each -gt "$max" ] || fail "$1: a request of $each bytes is one message"
	[ $((sends - credits)) -le $((chains * (2 + (each + max - 1) / max))) ] ||
		fail "$1: more messages than the bytes of large requests need"
}

for access in read write; do
	batches $access
	singles $access
	large $access
done

# Who was woken and has not slept since is not woken again, however often the driver is told.
asleep() {
	[ "$(of_backend sends)" = "$(value channel rx_messages)" ] && grep -q '^State:.*S' "/proc/$backend/status"
}
wait_for "a backend that sleeps" asleep
kill -STOP "$backend"
notifies=$(value $disk queue0_notifies)
bells=$(value channel wakes_sent)
disk-batch /dev/vda read 4096 1 32 1 >/tmp/spent.log 2>&1 &
job=$!
wait_for "32 notifies" at_least $disk queue0_notifies $((notifies + 32))
bells=$(($(value channel wakes_sent) - bells))
[ $bells -le 1 ] || fail "$bells doorbells for a backend that was woken already"
kill -CONT "$backend"
wait $job || fail "reads of a backend that went on"
[ "$(value $disk queue0_errors)" -eq 0 ] || fail "requests ended with errors"
relay_kill
driver_unload
kill "$backend"
wait "$backend"
echo "COST-DONE"

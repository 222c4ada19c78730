# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=dash disable=SC2034
# Guest: sourced by scripts that run the driver against a backend in this very guest, over /dev/hmx_test.
# The programs are vhx-backend and hmx-test-relay.
set -u
grep -q debugfs /proc/mounts || mount -t debugfs debugfs /sys/kernel/debug
hmx=/sys/kernel/debug/virtio_hmx/hmx0
# A guard against hangs, in steps of a tenth of a second; never an expectation.
patience=1200

fail() {
	echo "guest: $*"
	cat "$hmx/channel" "$hmx"/devices/* 2>/dev/null
	tail -n 10 /tmp/backend.log /tmp/relay.log 2>/dev/null
	dmesg | tail -n 30
	exit 1
}

# wait_for WHAT COMMAND...: until it succeeds.
wait_for() {
	what=$1 left=$patience
	shift
	until "$@" >/dev/null 2>&1; do
		left=$((left - 1))
		[ $left -gt 0 ] || fail "waited in vain for $what"
		sleep 0.1
	done
}

# value FILE NAME: of a counter below $hmx.
value() {
	sed -n "s/^$2 //p" "$hmx/$1"
}

at_least() {
	now=$(value "$1" "$2")
	[ "${now:-0}" -ge "$3" ]
}

absent() {
	! [ -e "$1" ]
}

gone() {
	! kill -0 "$1"
}

state_is() {
	[ "$(value "devices/$1" state)" = "$2" ]
}

# backend_start [DEVICE...]: with /tmp/disk.img as disk0 unless devices are given. backend_run: words before it.
backend_start() {
	[ $# -gt 0 ] || set -- blk,id=disk0,file=/tmp/disk.img
	options=''
	for d in "$@"; do
		options="$options --device $d"
	done
	rm -f /tmp/be.sock
	# shellcheck disable=SC2086 # split into words on purpose
	${backend_run-} vhx-backend --listen unix:/tmp/be.sock $options >>/tmp/backend.log 2>&1 &
	backend=$!
	wait_for "the backend" [ -S /tmp/be.sock ]
}

backend_kill() {
	kill -KILL "$backend" || fail "the backend ended before it was killed"
	wait "$backend"
}

# relay_size: bytes of the window.
relay_start() {
	wait_for "/dev/hmx_test" [ -c /dev/hmx_test ]
	hmx-test-relay /tmp/be.sock "${relay_size:-1048576}" >>/tmp/relay.log 2>&1 &
	relay=$!
}

# The window goes with it: for the driver this is a device that was pulled out.
relay_kill() {
	kill -KILL "$relay" || fail "the relay ended before it was killed"
	wait "$relay"
}

driver_load() {
	for m in virtio_hmx hmx_window hmx_test; do
		insmod /driver/$m.ko || fail "insmod $m"
	done
}

driver_unload() {
	for m in hmx_test hmx_window virtio_hmx; do
		rmmod $m || fail "rmmod $m"
	done
}

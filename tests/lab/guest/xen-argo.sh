# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=dash
# dom0: what hmx_argo promises, from the device up. /dev/argo, and the rules of the exchange: of this domain with
# itself, with a domU of each type, and between those. Then, in each of them, what requests cost in hypercalls, a
# backend that is killed under them, and a driver that goes and comes back. Every bound is a count.
# shellcheck source=xen-vhx.sh
. /xen-vhx.sh
# An emulated processor has time for so many messages of a stream, and random calls.
rounds=300

# insert MODULE [PARAMETER]
insert() {
	module=$1
	shift
	insmod "/driver/$module.ko" "$@" || fail "insmod $module"
}

no_rings() {
	[ -z "$(cat /sys/kernel/debug/hmx_argo/rings)" ]
}

insert virtio_hmx
insert hmx_argo
wait_for /dev/argo [ -c /dev/argo ]
mount -t debugfs debugfs /sys/kernel/debug
argo-dev $rounds || fail "the device"
now() {
	cut -d. -f1 /proc/uptime
}

# exchange WHERE COMMAND...: one row of the conformance suite, run by that command.
exchange() {
	where=$1 begin=$(now)
	shift
	"$@" >/tmp/exchange.log 2>&1 || { grep -Ev ' (RUN|OK) ' /tmp/exchange.log; fail "the exchange, $where"; }
	passed=$(sed -n 's/.*PASSED *\] *\([0-9]*\) test.*/\1/p' /tmp/exchange.log)
	echo "EXCHANGE $where: ${passed:?} tests, $(($(now) - begin)) s"
	rm /tmp/exchange.log
	no_rings || fail "a ring was left by $where: $(cat /sys/kernel/debug/hmx_argo/rings)"
}

# Programs, and the kernel's own ports, in all pairs.
bare='hmx_window hmx_test hmx_argo_test'
for m in $bare; do
	insert "$m"
done
wait_for /dev/hmx_argo_test [ -c /dev/hmx_argo_test ]
for row in argo argo-kernel argo-kernel-first argo-kernels; do
	exchange "dom0, $row" test_exchange $row $rounds
done

xen_start
mkdir -p /domu
printf 'virtio_hmx\nhmx_argo\n' >/domu/order

# Two domains, of which the first runs the suite. A domU's kernel keeps its ports to itself meanwhile.
far_rounds=100
backends=/sys/bus/platform/devices/hmx_argo/backends

# far NAME ROW: dom0 and that domU.
far() {
	domu_start "$1" 'argo-agent 0'
	agent=$call
	exchange "dom0 and $1, $2" test_exchange "$2" $far_rounds "$(domu_id "$1")"
	domu_wait "$1" "$agent" || fail "the agent in $1"
}

# between NAME NAME ROW: two domUs.
between() {
	domu_start "$2" "argo-agent $(domu_id "$1")"
	agent=$call
	exchange "$1 and $2, $3" domu_do "$1" "test_exchange $3 $far_rounds $(domu_id "$2")"
	domu_wait "$2" "$agent" || fail "the agent in $2"
}

for type in pv pvh; do
	domu_create "$type" "$type"
	domu_do "$type" "echo -0 >$backends && cd /driver && for m in $bare; do insmod \$m.ko || exit; done" ||
		fail "ports of $type"
done
if [ "$(cat /torture)" = 1 ]; then
	for row in argo-far argo-far-first argo-far-kernel argo-far-kernel-first; do
		far pv $row
		far pvh $row
		between pv pvh $row
		between pvh pv $row
	done
else
	far pv argo-far-kernel
	far pvh argo-far-kernel-first
	between pv pvh argo-far
fi
rmmod hmx_argo_test hmx_test hmx_window || fail "ports of dom0"
for type in pv pvh; do
	domu_do "$type" "rmmod hmx_argo_test hmx_test hmx_window && echo +0 >$backends" || fail "ports of $type"
done

# sends: of dom0 and the domU so far.
sends() {
	echo $(($(dom0_count sendv) + $(domu_count "$type" sendv)))
}

# batches ACCESS: requests of 4 KiB, 32 under one notify; the next come when all have been completed.
batches() {
	count=$(sends)
	domu_do "$type" "disk-batch /dev/vda $1 4096 10 32 32" || fail "batches in $type"
	count=$(($(sends) - count))
	echo "COST $type: 320 requests of 4 KiB, $1, 32 under one notify: $count sends"
	# A batch is a message each way at the least: less than that were not counted.
	[ $count -ge 20 ] || fail "less than two sends per batch"
	[ $((count * 100)) -le $((320 * 13)) ] || fail "more than 0.13 sends per request"
}

channel_notifies() {
	vhxctl stats "/tmp/$type.ctl" | sed -n 's/.*"argo_notifies" *: *\([0-9]*\).*/\1/p'
}

begun() {
	[ "$(head -c 1 "/tmp/$type.img")" = "$1" ]
}

# filled BYTE: what the first 4 MiB of the image are.
filled() {
	others=$(head -c 4194304 "/tmp/$type.img" | tr -d "$1" | wc -c)
	[ "$others" -eq 0 ] || fail "$others bytes of the image of $type are not '$1'"
}

for type in pv pvh; do
	truncate -s 64M "/tmp/$type.img"
	disk=blk,id=disk0,file=/tmp/$type.img
	backend_start "$type" $disk
	domid=$(domu_id "$type")
	peer "$type" add "$domid"
	domu_do "$type" 'mount -t debugfs debugfs /sys/kernel/debug' || fail "debugfs in $type"
	domu_disk "$type" vda

	notifies=$(domu_count "$type" notify) looks=$(channel_notifies)
	batches read
	batches write
	[ "$(domu_count "$type" notify)" -eq "$notifies" ] || fail "notifies of $type on rings with credit"
	# Those before were looks whether the peer's ring is there.
	notifies=$(channel_notifies)
	[ "$notifies" -eq "$looks" ] || fail "notifies of the backend's channel: $looks, then $notifies"

	domu_start "$type" "tr '\\0' A </dev/zero | dd of=/dev/vda bs=16k count=256 iflag=fullblock oflag=direct 2>/dev/null"
	wait_for "writes in $type" begun A
	kill -KILL "$backend"
	wait "$backend"
	backend_start "$type" $disk
	peer "$type" add "$domid"
	domu_wait "$type" "$call" || fail "writes across a killed backend in $type"
	filled A

	for n in 1 2 3; do
		domu_do "$type" 'rmmod hmx_argo virtio_hmx && [ ! -e /dev/vda ]' || fail "the driver's end in $type, $n"
		domu_do "$type" 'insmod /driver/virtio_hmx.ko && insmod /driver/hmx_argo.ko' ||
			fail "the driver's return in $type, $n"
		domu_disk "$type" vda
	done
	domu_do "$type" "dd if=/dev/vda bs=64k count=64 iflag=direct 2>/dev/null | tr -d A | wc -c | grep -qx 0" ||
		fail "read after a reload in $type"
	domu_do "$type" dmesg-clean || fail "the kernel of $type complains"
	domu_destroy "$type"
	kill -TERM "$backend"
	wait "$backend" || fail "the backend's end"
	echo "DISK $type: its backend killed under writes, its driver reloaded"
done
wait_for "the end of all rings" no_rings
driver_unload
echo "XEN-ARGO-DONE"

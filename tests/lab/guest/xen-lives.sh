# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=dash
# dom0: ends of everything, each seen and survived by the other side: the backend is killed, the module in dom0
# reloaded, the domU rebooted and destroyed. Nothing is left of what ended.
# shellcheck source=xen-vhx.sh
. /xen-vhx.sh
rounds=$(cat /rounds)
xen_start
mount -t debugfs debugfs /sys/kernel/debug
driver_load
mkdir -p /domu
printf 'virtio_hmx\nhmx_argo\n' >/domu/order
truncate -s 64M /tmp/disk.img
disk=blk,id=disk0,file=/tmp/disk.img

rings() {
	wc -l </sys/kernel/debug/hmx_argo/rings
}

rings_are() {
	[ "$(rings)" -eq "$1" ]
}

begun() {
	[ "$(head -c 1 /tmp/disk.img)" = "$1" ]
}

# fill NAME BYTE: starts with the first 16 MiB of its disk, and returns when they are under way.
fill() {
	domu_start "$1" "tr '\\0' $2 </dev/zero | dd of=/dev/vda bs=16k count=1024 iflag=fullblock oflag=direct 2>/dev/null"
	left=$((patience * 10))
	until begun "$2"; do
		left=$((left - 1))
		[ $left -gt 0 ] || fail "$1 does not write"
		sleep 0.05
	done
}

# filled BYTE: what the image has.
filled() {
	others=$(head -c 16777216 /tmp/disk.img | tr -d "$1" | wc -c)
	[ "$others" -eq 0 ] || fail "$others bytes of the image are not '$1'"
}

backend_start be $disk
domu_create pv pv
pv=$(domu_id pv)
peer be add "$pv"
domu_disk pv vda

# Killed with requests under way: the guest sends them again to the next one.
fill pv A
kill -KILL "$backend"
wait "$backend"
backend_start be $disk
peer be add "$pv"
domu_wait pv "$call" || fail "writes across a killed backend"
filled A
echo "backend killed and restarted: the guest's writes went on"

fill pv B
kill -TERM "$backend"
wait "$backend" || fail "the backend's end"
driver_unload
driver_load
backend_start be $disk
peer be add "$pv"
domu_wait pv "$call" || fail "writes across a reloaded module"
filled B
echo "module in dom0 reloaded: the guest's writes went on"

for n in 1 2 3; do
	domu_reboot pv
	peer be remove "$pv"
	pv=$(domu_id pv)
	peer be add "$pv"
	domu_disk pv vda
	domu_do pv "dd if=/dev/vda bs=64k count=64 2>/dev/null | tr -d B | wc -c | grep -qx 0" || fail "read after reboot $n"
done
kill -0 "$backend" || fail "the backend ended at a reboot"
echo "rebooted three times: one backend"

domu_destroy pv
peer be remove "$pv"
before_rings=$(rings)
free_before=''
n=0
while [ $n -lt "$rounds" ]; do
	n=$((n + 1))
	domu_create pv pv
	pv=$(domu_id pv)
	peer be add "$pv"
	domu_disk pv vda
	domu_do pv "dd if=/dev/vda of=/dev/null bs=64k count=4 iflag=direct 2>/dev/null" || fail "read in round $n"
	domu_destroy pv
	peer be remove "$pv"
	wait_for "the end of its ring" rings_are "$before_rings"
	# The first round has warmed up what stays by design.
	[ -n "$free_before" ] || { dump first; free_before=$(xl info | sed -n 's/^free_memory *: //p'); }
done
dump last
same grants first last
same events first last
same store first last
free_after=$(xl info | sed -n 's/^free_memory *: //p')
# In MiB. What a round leaks of pages would be many of them.
[ $((free_before - free_after)) -le 1 ] || fail "memory: $free_before MiB, then $free_after"
kill -0 "$backend" || fail "the backend ended at the end of a guest"
echo "$rounds domUs came and went: rings, event channels, grants, xenstore as before, $free_after MiB free"
kill -TERM "$backend"
wait "$backend" || fail "the backend's end"
driver_unload
echo "XEN-LIVES-DONE"

# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=dash
# dom0: a PV and a PVH domU boot, answer, reboot, and end, and one is saved and restored. They are other domains then,
# and the backend follows: one that serves whoever comes, and one that knows them by name and UUID. Programs of a
# partner domain send junk: that costs their own channel.
# shellcheck source=xen-vhx.sh
. /xen-vhx.sh
xen_start
mount -t debugfs debugfs /sys/kernel/debug
driver_load
mkdir -p /domu
printf 'virtio_hmx\nhmx_argo\n' >/domu/order
uuid=3b0a2b1e-6d0c-4c43-9b0e-5a5f0c1d2e3f
backends=/sys/bus/platform/devices/hmx_argo/backends

# letter NAME: what its disk is full of.
letter() {
	if [ "$1" = pv ]; then echo V; else echo H; fi
}

for type in pv pvh; do
	tr '\0' "$(letter $type)" </dev/zero | head -c 4194304 >/tmp/$type.img
done
pv_disk=blk,id=disk-pv,file=/tmp/pv.img,peer=argo:name:pv
pvh_disk=blk,id=disk-pvh,file=/tmp/pvh.img,peer=argo:uuid:$uuid

# served NAME...: each can read all of its own disk, and has no other.
served() {
	for name in "$@"; do
		domu_disk "$name" vda
		domu_do "$name" '[ ! -e /dev/vdb ]' || fail "$name has two disks"
		domu_do "$name" "dd if=/dev/vda bs=64k iflag=direct 2>/dev/null | tr -d $(letter "$name") | wc -c | grep -qx 0" ||
			fail "$name reads something else"
	done
}

# offer NAME: its disk, for the number that it has.
offer() {
	vhxctl device add /tmp/any.ctl "blk,id=disk-$1,file=/tmp/$1.img,peer=argo:peer=$(domu_id "$1")" ||
		fail "no disk for $1"
}

listen=argo:any
backend_start any
for type in pv pvh; do
	[ $type = pv ] || domu_config="uuid = \"$uuid\""
	domu_create "$type" "$type"
	domu_do "$type" 'cat /sys/hypervisor/type' | tr -d '\r' >/tmp/answer || fail "command in $type"
	[ "$(cat /tmp/answer)" = xen ] || fail "$type says: $(cat /tmp/answer)"
	domu_do "$type" 'exit 3' && fail "a failure in $type is none here"
	offer "$type"
done
served pv pvh
first=$(domu_id pv)
domu_reboot pv
[ "$(domu_id pv)" -gt "$(domu_id pvh)" ] || fail "pv has domid $(domu_id pv), had $first"
vhxctl device remove /tmp/any.ctl disk-pv || fail "disk-pv stays"
offer pv
served pv
[ "$(grep -c ': comes$' /tmp/any.log)" -ge 3 ] || fail "who came: $(cat /tmp/any.log)"
backend_end
echo "DOMAINS argo:any: two came, one rebooted and came again"

listen="argo:name:pv argo:uuid:$uuid"
backend_start names $pv_disk $pvh_disk
served pv pvh
domu_reboot pv
domu_reboot pvh
served pv pvh
for type in pv $uuid; do
	[ "$(grep -c "$type: is domain " /tmp/names.log)" -eq 2 ] || fail "who was followed: $(cat /tmp/names.log)"
done
echo "DOMAINS argo:name, argo:uuid: followed over a reboot each"

attached() {
	grep -c "disk-$1: attached" /tmp/names.log
}

# Strangers do no harm: in pv, to the backend's port, and in dom0, to the frontend's.
attached=$(attached pv)
domu_do pv 'argo-junk 0 stranger 0x42584856 300' || fail "a stranger in pv"
argo-junk "$(domu_id pv)" stranger 0x46584856 300 || fail "a stranger in dom0"
served pv
[ "$(attached pv)" -eq "$attached" ] || fail "a stranger ended the channel of pv"
# One in place of the frontend ends a channel each time; that of pvh goes on.
attached=$(attached pvh)
domu_start pvh 'for i in 1 2 3 4 5 6 7 8; do dd if=/dev/vda of=/dev/null bs=4k iflag=direct 2>/dev/null || exit; done'
reading=$call
domu_do pv "echo -0 >$backends && argo-junk 0 frontend 20 && echo +0 >$backends" || fail "a false frontend in pv"
domu_wait pvh "$reading" || fail "reads of pvh beside a false frontend"
[ "$(attached pvh)" -eq "$attached" ] || fail "a false frontend in pv ended the channel of pvh"
served pv
backend_end
# And one in place of the backend.
argo-junk "$(domu_id pv)" backend 5 || fail "a false backend"
backend_start names $pv_disk $pvh_disk
served pv pvh
echo "DOMAINS junk: two strangers, 20 false frontends, 5 false backends; each cost no more than its channel"

before=$(domu_id pv)
domu_start pv 'for i in 1 2 3 4 5 6 7 8; do dd if=/dev/vda of=/dev/null bs=4k iflag=direct 2>/dev/null || exit; done'
reading=$call
xl save pv /tmp/pv.save >/tmp/save.log 2>&1 || fail "pv is not saved"
xl restore /tmp/pv.save >/tmp/restore.log 2>&1 || fail "pv is not restored"
rm /tmp/pv.save
[ "$(domu_id pv)" -gt "$before" ] || fail "pv is domain $(domu_id pv) again"
domu_wait pv "$reading" || fail "reads of pv across save and restore"
served pv pvh
for type in pv pvh; do
	domu_do "$type" dmesg-clean || fail "the kernel of $type complains"
done
echo "DOMAINS pv saved, and restored as another domain, with reads under way"
domu_destroy pv

# Nothing is heard of the console of a PVH domU after it was restored, with or without this driver. So the disk tells
# whether it goes on: eight digits at its beginning, which it counts up.
counted() {
	head -c 8 /tmp/pvh.img | tr -d H
}
counted_to() {
	[ "$(counted)" -gt "$1" ]
}
before=$(domu_id pvh)
# shellcheck disable=SC2016 # for the guest
domu_start pvh 'while n=$((${n:-10000000} + 1)); do echo $n | dd of=/dev/vda conv=notrunc,fsync 2>/dev/null || exit; done'
echo "PVH-RESTORE"
wait_for "pvh to count" counted_to 10000010
xl save pvh /tmp/pvh.save >/tmp/save.log 2>&1 || fail "pvh is not saved"
count=$(counted)
xl restore /tmp/pvh.save >/tmp/restore.log 2>&1 || fail "pvh is not restored"
rm /tmp/pvh.save
[ "$(domu_id pvh)" -gt "$before" ] || fail "pvh is domain $(domu_id pvh) again"
wait_for "pvh to count on" counted_to $((count + 10))
echo "DOMAINS pvh saved, and restored as another domain, with writes under way: from $count on"
domu_destroy pvh
backend_end
xl list | tail -n +2
driver_unload
echo "XEN-DOMAINS-DONE"

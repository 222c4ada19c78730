# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=dash
# dom0 under the Flask policy of packaging/xen: a domU with the label that it serves has a disk; its neighbour without
# it is refused. Each side says so in one line, tries on at its pace, and is let in, or shut out, without a restart
# when the policy changes.
# shellcheck source=xen-vhx.sh
. /xen-vhx.sh
xen_start
mount -t debugfs debugfs /sys/kernel/debug
[ "$(xl getenforce)" = Enforcing ] || fail "Flask: $(xl getenforce)"
driver_load
mkdir -p /domu
# The modules lie there, and are loaded by hand.
: >/domu/order
for name in served neighbour; do
	truncate -s 16M /tmp/$name.img
done
backend_start served blk,id=disk0,file=/tmp/served.img
served_backend=$backend
domu_config='seclabel = "system_u:system_r:vhx_guest_t"'
domu_create served pvh
domu_config=''
domu_create neighbour pv
peer served add "$(domu_id served)"
domu_driver served
domu_disk served vda
domu_do served 'dd if=/dev/vda of=/dev/null bs=64k count=16 2>/dev/null' || fail "reads of the served one"
echo "FLASK served: has its disk"

# said NAME TEXT: so many lines of that domU's kernel.
said() {
	domu_do "$1" "dmesg | grep -c '$2'" | tr -d '\r'
}

backend_said() {
	grep -c "$2" "/tmp/$1.log"
}

uptime_of() {
	domu_do "$1" 'cut -d. -f1 /proc/uptime' | tr -d '\r'
}

refused="domain $(domu_id neighbour): the hypervisor's policy refuses it"
forbidden='hmx_argo: domain 0: the hypervisor.s policy forbids it: -13'
backend_start neighbour blk,id=disk1,file=/tmp/neighbour.img
peer neighbour add "$(domu_id neighbour)"
domu_driver neighbour
begin=$(uptime_of neighbour) calls=$(domu_count neighbour register_ring)

# Two tries more than the first, whose pause is of ten seconds; each is one hypercall.
tried_again() {
	[ "$(domu_count neighbour register_ring)" -ge $((calls + 2)) ]
}
wait_for "two more tries" tried_again
tries=$(($(domu_count neighbour register_ring) - calls)) time=$(($(uptime_of neighbour) - begin))
[ $tries -le $((time / 10 + 1)) ] || fail "$tries tries in $time s"
[ "$(domu_count neighbour sendv)" -eq 0 ] || fail "the neighbour sends"
[ "$(said neighbour "$forbidden")" -eq 1 ] || fail "the neighbour's kernel: $(domu_do neighbour 'dmesg | grep hmx')"
[ "$(backend_said neighbour "$refused")" -eq 1 ] || fail "the backend's log"
domu_do neighbour '[ ! -e /dev/vda ]' || fail "the neighbour has a disk"
xl dmesg | grep 'avc:  denied  { register_single_source }' | grep 'tclass=argo' >/tmp/denied || fail "no line of Xen's"
echo "FLASK neighbour: refused: $tries tries in $time s, one line in each log"
domu_do neighbour "dmesg | grep '$forbidden'"
grep "$refused" /tmp/neighbour.log
head -n 1 /tmp/denied

# As if the policy were changed: it is let in.
xl setenforce 0 || fail "xl setenforce 0"
domu_disk neighbour vda
echo "FLASK neighbour: let in when the policy allows it"
# And shut out, with requests under way: they wait, and end when it may come back.
domu_start neighbour 'dd if=/dev/vda of=/dev/null bs=4k count=4096 iflag=direct 2>/dev/null'
reading=$call
xl setenforce 1 || fail "xl setenforce 1"
refused_again() {
	[ "$(backend_said neighbour "$refused")" -eq 2 ]
}
wait_for "the next refusal" refused_again
xl setenforce 0 || fail "xl setenforce 0"
domu_wait neighbour "$reading" || fail "reads across a change of the policy"
xl setenforce 1 || fail "xl setenforce 1"
domu_do neighbour 'rmmod hmx_argo virtio_hmx' || fail "the driver's end"
domu_do neighbour dmesg-clean || fail "the neighbour's kernel complains"
domu_do served 'dd if=/dev/vda of=/dev/null bs=64k count=16 iflag=direct 2>/dev/null' || fail "reads of the served one, at the end"
domu_do served dmesg-clean || fail "the served one's kernel complains"
echo "FLASK neighbour: shut out, and gone"
for b in $backend $served_backend; do
	kill -TERM "$b"
	wait "$b" || fail "a backend's end"
done
domu_destroy served
domu_destroy neighbour
driver_unload
echo "XEN-FLASK-DONE"

# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=dash
# dom0: a PV and a PVH domU on disks of backends here. Each mounts one, writes and verifies. Then one has eight
# devices, and all that came of it, beyond the two domains' rings, is one event channel per domain.
# shellcheck source=xen-vhx.sh
. /xen-vhx.sh
xen_start
mount -t debugfs debugfs /sys/kernel/debug
mkdir -p /domu
# The modules lie there, and are loaded when the domains have been looked at without them.
: >/domu/order
for type in pv pvh; do
	domu_create "$type" "$type" /tree.sh
	truncate -s 64M "/tmp/$type.img"
done
pv=$(domu_id pv) pvh=$(domu_id pvh)
dump before

driver_load
backend_start pvh blk,id=disk0,file=/tmp/pvh.img
peer pvh add "$pvh"
backend_start pv blk,id=disk0,file=/tmp/pv.img
pv_backend=$backend
peer pv add "$pv"
for type in pv pvh; do
	domu_driver "$type"
	domu_disk "$type" vda
	domu_do "$type" 'mke2fs /dev/vda >/dev/null && sh /tree.sh' >"/tmp/$type.tree" || fail "the disk of $type"
	echo "DEMO $type: mounted, written, read back and compared: $(sed -n 's/\r//; s/^TREE //p' "/tmp/$type.tree")"
done

# What 256 reads cost, one at a time. A request is a message each way.
requests=256
sendv=$(domu_count pv sendv) notify=$(domu_count pv notify)
back_sendv=$(dom0_count sendv) back_notify=$(dom0_count notify)
domu_do pv "dd if=/dev/vda of=/dev/null bs=4k count=$requests iflag=direct 2>/dev/null" || fail "reads"
sendv=$(($(domu_count pv sendv) - sendv)) notify=$(($(domu_count pv notify) - notify))
back_sendv=$(($(dom0_count sendv) - back_sendv)) back_notify=$(($(dom0_count notify) - back_notify))
echo "DEMO $requests requests one by one: $sendv sends and $notify notifies in the guest," \
	"$back_sendv sends and $back_notify notifies in the backend's domain"
# Beyond them, credit alone, and what the pvh domain says meanwhile.
within() {
	[ "$2" -ge "$3" ] || fail "$1: $2 is less than $3"
	[ "$2" -le "$4" ] || fail "$1: $2 is more than $4"
}
within "sends of the guest" "$sendv" $requests $((requests + 16))
within "sends of the backend's domain" "$back_sendv" $requests $((requests + 32))
# Nobody is owed a notify on rings with credit. Those that are counted are looks whether the peer's ring is there,
# one in five seconds.
channel=$(vhxctl stats /tmp/pv.ctl | sed -n 's/.*"argo_notifies" *: *\([0-9]*\).*/\1/p')
within "notifies of the backend's channel" "${channel:-none}" 0 0

for n in 1 2 3 4 5 6; do
	truncate -s 8M /tmp/more$n.img
	vhxctl device add /tmp/pv.ctl blk,id=disk$n,file=/tmp/more$n.img || fail "device add disk$n"
done
vhxctl device add /tmp/pv.ctl rng,id=rng0 || fail "device add rng0"
domu_disk pv vdg
domu_do pv 'modprobe virtio_rng' || fail "modprobe virtio_rng"
domu_do pv "for i in \$(seq 600); do head -c 64 /dev/hwrng >/tmp/random 2>/dev/null && exit 0; sleep 0.2; done; exit 1" ||
	fail "no entropy in pv"
domu_do pv "for d in a b c d e f g; do dd if=/tmp/random of=/dev/vd\$d seek=9 conv=fsync 2>/dev/null || exit 1; done" ||
	fail "seven disks in pv"

dump after
same grants before after
same store before after
same mappers before after
! grep -q vhx-backend /tmp/after.mappers || fail "a backend maps foreign memory"
# Each domain has one event channel more, VIRQ_ARGO.
awk '{ print $1, $2 + 1, 1 }' /tmp/before.events >/tmp/expected.events
same events expected after
echo "DEMO eight devices in pv: no grant, no foreign mapping, no xenstore node, one event channel per domain:"
sed 's/^/DEMO   domain, event channels, VIRQ_ARGO: /' /tmp/after.events

modprobe loop
mount -t ext4 -o ro,loop /tmp/pvh.img /mnt || fail "the image does not mount"
sed -n 's/\r//; s/^SUM //p' /tmp/pvh.tree >/tmp/sums
[ "$(wc -l </tmp/sums)" -ge 100 ] || fail "too few sums"
(cd /mnt/tree && sha256sum -c -s /tmp/sums) || fail "the image differs from what pvh wrote"
umount /mnt
# Programs, by libvhx-argo: 16 MiB each way with each domU as a stream, and with one as datagrams.
head -c 16777216 /dev/urandom >/tmp/file
sum=$(sha256sum </tmp/file)
# same_sum WHAT SUM
same_sum() {
	[ "$(echo "$2" | sed 's/\r//' | tail -n 1)" = "$sum" ] || fail "$1: $2, not $sum"
}
datagrams_send() {
	vhx-argo-cat -u -N "$1" 9 </tmp/file
}
for type in pv pvh; do
	domid=$(domu_id "$type")
	sendv=$(dom0_count sendv)
	vhx-argo-cat -l -N -p "$domid" 7 </tmp/file >/dev/null &
	cat=$!
	got=$(domu_do "$type" 'vhx-argo-cat -r 0 7 </dev/null >/tmp/file && sha256sum </tmp/file')
	same_sum "a file to $type" "$got"
	wait $cat || fail "vhx-argo-cat, sending to $type"
	sendv=$(($(dom0_count sendv) - sendv))
	vhx-argo-cat -l -p "$domid" 7 </dev/null >/tmp/back &
	cat=$!
	domu_do "$type" 'vhx-argo-cat -N -r 0 7 </tmp/file' || fail "vhx-argo-cat, sending from $type"
	wait $cat || fail "vhx-argo-cat, receiving from $type"
	same_sum "a file from $type" "$(sha256sum </tmp/back)"
	echo "DEMO $type: 16 MiB each way as a stream, equal sums; $sendv sends of dom0 for its half"
done
domu_start pvh 'vhx-argo-cat -l -u -W 512 -p 0 9 </dev/null | sha256sum'
wait_for "a receiver of datagrams" datagrams_send "$pvh"
got=$(domu_wait pvh "$call") || fail "datagrams to pvh"
same_sum "datagrams to pvh" "$got"
vhx-argo-cat -l -u -W 512 -p "$pvh" 9 </dev/null >/tmp/back &
cat=$!
# shellcheck disable=SC2016 # for the guest
domu_do pvh 'for i in $(seq 100); do vhx-argo-cat -u -N 0 9 </tmp/file && exit 0; sleep 0.5; done; exit 1' ||
	fail "vhx-argo-cat, sending datagrams from pvh"
wait $cat || fail "vhx-argo-cat, receiving datagrams from pvh"
same_sum "datagrams from pvh" "$(sha256sum </tmp/back)"
echo "DEMO pvh: 16 MiB each way as datagrams, equal sums"
domu_do pvh 'rm /tmp/file' && rm /tmp/back
# A program that is killed is reset at its peer, by its kernel.
vhx-argo-cat -l -p "$pv" 7 </dev/null >/tmp/said 2>/tmp/cat.log &
cat=$!
held='mkfifo /tmp/held && exec 9<>/tmp/held && echo here >&9 && vhx-argo-cat -r 0 7 <&9'
domu_start pv "$held 2>&1 | grep -q 'reset by peer'"
wait_for "a stream of pv" [ -s /tmp/said ]
kill -KILL $cat
domu_wait pv "$call" || fail "a killed program was not reset in pv"

for type in pv pvh; do
	domu_do "$type" dmesg-clean || fail "the kernel of $type complains"
done
kill -0 "$pv_backend" || fail "the backend of pv ended"
# A domain that ends tells nobody: whoever waits for it looks.
vhx-argo-cat -l -p "$pvh" 7 </dev/null >/tmp/said 2>/tmp/cat.log &
cat=$!
domu_start pvh "$held"
wait_for "a stream of pvh" grep -q here /tmp/said
domu_destroy pvh
wait $cat
[ $? -eq 1 ] || fail "the end of pvh was not found by its peer"
grep -q 'reset by peer' /tmp/cat.log || fail "the end of pvh: $(cat /tmp/cat.log)"
echo "DEMO vhx-argo-cat: a program's and a domain's end are found by their peers"
echo "XEN-DEVICES-DONE"

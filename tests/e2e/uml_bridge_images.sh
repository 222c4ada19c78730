#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Storage that is qemu-storage-daemon's work, behind the exchange: a qcow2 image, and a disk that an NBD server of
# another process has. A third disk is this project's own, through one more frontend and its packed rings, which is
# killed with -9 and started anew meanwhile, and finds what it had in flight. A guest puts a file system with a tree on
# each; then the host looks into the images. Bad configurations end with a line each.
# shellcheck source=bridge.sh
. "$(dirname "$0")/bridge.sh"
need_programs
need_uml
need_storage_daemon
need qemu-img qemu-utils
need debugfs e2fsprogs

make_image "$tmp/plain.img" 128M ext4
qemu-img convert -O qcow2 "$tmp/plain.img" "$tmp/disk.qcow2" || fail "qemu-img"
cp "$tmp/plain.img" "$tmp/own.img"
mv "$tmp/plain.img" "$tmp/served.img"

export_of() {
	echo "type=vhost-user-blk,id=$1,node-name=$1,writable=on,num-queues=${2:-1},addr.type=unix,addr.path=$tmp/$1.sock"
}

# The server of the other machine.
start nbd qemu-storage-daemon --blockdev "driver=file,node-name=d,filename=$tmp/served.img" \
	--nbd-server "addr.type=unix,addr.path=$tmp/nbd.sock" --export type=nbd,id=n,node-name=d,writable=on,name=disk
wait_listening nbd "$tmp/nbd.sock"
start qsd qemu-storage-daemon \
	--blockdev "driver=qcow2,node-name=qcow,discard=unmap,file.driver=file,file.filename=$tmp/disk.qcow2" \
	--blockdev "driver=nbd,node-name=far,export=disk,server.type=unix,server.path=$tmp/nbd.sock" \
	--export "$(export_of qcow 2)" --export "$(export_of far)"
wait_listening qsd "$tmp/qcow.sock"
wait_listening qsd "$tmp/far.sock"
start store "$vhx_backend" --listen "unix:$tmp/store.sock" --device "blk,id=own,file=$tmp/own.img"
wait_listening store "$tmp/store.sock"
own() {
	start own "$vhx_frontend" --connect "unix:$tmp/store.sock" --vhost-user "$tmp/own.sock,id=own"
	wait_listening own "$tmp/own.sock"
}
own
start_backend --device "vhost-user,type=blk,id=qcow,socket=$tmp/qcow.sock" \
	--device "vhost-user,type=2,id=far,socket=$tmp/far.sock" \
	--device "vhost-user,type=blk,id=own,socket=$tmp/own.sock,cache=host"
start_frontend --vhost-user "$tmp/vm.sock,id=qcow" --vhost-user "$tmp/vm2.sock,id=far" \
	--vhost-user "$tmp/vm3.sock,id=own"
wait_listening frontend "$tmp/vm3.sock"

# refused LINE SPEC: the backend ends with one line that says why.
refused() {
	local status=0
	timeout "$vhx_patience" "$vhx_backend" --listen "unix:$tmp/no.sock" --device "$2" >"$tmp/bad.log" 2>&1 || status=$?
	assert_eq "status of $2" "$status" 1
	assert_eq "lines of $2" "$(wc -l <"$tmp/bad.log")" 1
	assert_match "$2" "$(cat "$tmp/bad.log")" "$1"
}

cat >"$tmp/run.sh" <<'GUEST'
set -eu
sh /tree.sh
TREE_DEV=/dev/vdb sh /tree.sh | sed 's/^SUM/FAR/'
echo THIRD
# So that there are requests for as long as the host kills.
while [ ! -e /tmp/over ]; do
	dd if=/dev/vdc of=/dev/null bs=4k count=200 iflag=direct 2>/dev/null || exit 1
done &
TREE_DEV=/dev/vdc sh /tree.sh | sed 's/^SUM/OWN/'
read -r _
touch /tmp/over
wait
GUEST
boot uml --disk "$tmp/vm.sock" --disk "$tmp/vm2.sock" --disk "$tmp/vm3.sock" --script "$tmp/run.sh" --add "$vhx_lab/guest/tree.sh"
wait_guest '^THIRD'
assert_log backend 'own: .* packed rings'
for _ in 1 2 3; do
	before=$(stats "$tmp/fe.ctl" "s['devices'][2]['requests']")
	more() { [ "$(stats "$tmp/fe.ctl" "s['devices'][2]['requests']")" -gt $((before + 20)) ]; }
	wait_for "requests for the third disk" "$vhx_guest_patience" more
	crash own
	own
done
say over
guest_ok
assert_eq "connections again" "$(grep -c "own: .*connected again" "$tmp/backend.log")" 3
assert_eq "all requests completed" \
	"$(stats "$tmp/fe.ctl" "all(d['requests'] == d['completed'] > 100 for d in s['devices'])")" True
stop frontend
stop backend
refused 'd: .*/far.sock: the back-end offers features that no device of this type has' \
	"vhost-user,type=scsi,id=d,socket=$tmp/far.sock"
refused 'd: .*/far.sock: queues=4: the back-end has from 1 to 1' "vhost-user,type=blk,queues=4,id=d,socket=$tmp/far.sock"
stop own
stop store
stop qsd
stop nbd
qemu-img check -q "$tmp/disk.qcow2" || fail "the qcow2 image is damaged"
qemu-img convert -O raw "$tmp/disk.qcow2" "$tmp/plain.img" || fail "qemu-img"
check_image "$tmp/plain.img" "$tmp/guest.log"
sums() {
	sed -n "s/\r//g; s/^$1 /SUM /p" "$tmp/guest.log" >"$tmp/$1.sums"
	echo "$tmp/$1.sums"
}
check_image "$tmp/served.img" "$(sums FAR)"
check_image "$tmp/own.img" "$(sums OWN)"

refused 'd: .*/none: No such file' "vhost-user,type=blk,id=d,socket=$tmp/none"
refused 'd: .*/plain.img: Connection refused' "vhost-user,type=blk,id=d,socket=$tmp/plain.img"
refused 'd: a gpu cannot be bridged: its requests carry guest addresses' "vhost-user,type=gpu,id=d,socket=$tmp/none"
refused 'd: type=disk: no device type' "vhost-user,type=disk,id=d,socket=$tmp/none"
echo "qcow2, nbd and our own, each with its tree"

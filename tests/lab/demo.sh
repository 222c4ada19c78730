#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# demo.sh (GUEST=uml|qemu|ivshmem): a real guest writes to a disk whose backend, another process and
# another user, sees none of its memory. Then the host checks the image and shows the counters. With
# ivshmem the frontend is in the guest's kernel, and the disk is the one that a Debian system boots from.
here=$(cd "$(dirname "$0")" && pwd)
kind=${GUEST:-uml}
began=$SECONDS
say_step() { printf '\n== %s\n' "$*"; }

case $kind in
uml|qemu|ivshmem) ;;
*) echo "demo: GUEST is uml, qemu or ivshmem, not '$kind'" >&2; exit 2 ;;
esac
say_step "set-up"
groups=(build guest)
[ "$kind" = uml ] || groups+=(qemu)
[ "$kind" != ivshmem ] || groups+=(kernel)
"$here/setup.sh" "${groups[@]}" || exit 1

# shellcheck source=lib.sh
. "$here/lib.sh"

say_step "build"
make --no-print-directory -C "$vhx_root" BUILD="$vhx_build" all >"$tmp/build.log" 2>&1 ||
	fail "the build failed"
echo "programs in $vhx_build/tools"
need_programs
if [ "$kind" = ivshmem ]; then
	need_kernel 6.1
	made "the Debian system" "$vhx_lab/rootfs.sh"
else
	"need_$kind"
fi

say_step "an ext4 image, a backend, a frontend"
as_backend=() access=''
mkdir "$tmp/be"
if [ "$kind" = ivshmem ]; then
	cp --sparse=always "$made" "$tmp/be/disk.img" || fail "no space for the image"
else
	make_image "$tmp/be/disk.img" 128M ext4
fi
if [ "$(id -u)" -eq 0 ]; then
	chown -R nobody:nogroup "$tmp/be"
	as_backend=(setpriv --reuid=nobody --regid=nogroup --clear-groups)
	# Two users: the backend has to be told whose frontend may come.
	access=,mode=0666,allow-uid=root
fi
# The build may lie where only its owner can go: the backend runs from a copy.
install -m 755 "$vhx_backend" "$tmp/vhx-backend"
backend=("$tmp/vhx-backend" --listen "unix:$tmp/be/be.sock$access"
	--device "blk,id=disk0,file=$tmp/be/disk.img" --control "$tmp/be/be.ctl$access")
frontend=("$vhx_frontend" --connect "unix:$tmp/be/be.sock"
	--vhost-user "$tmp/vm.sock,id=disk0" --control "$tmp/fe.ctl")
[ "$kind" != ivshmem ] || frontend=("$vhx_ivshmem" --connect "unix:$tmp/be/be.sock"
	--qemu "$tmp/vm.sock,size=4M" --control "$tmp/fe.ctl")
echo "${as_backend[*]} ${backend[*]}"
start backend ${as_backend[@]+"${as_backend[@]}"} "${backend[@]}"
wait_listening backend "$tmp/be/be.sock"
echo "${frontend[*]}"
start frontend "${frontend[@]}"
wait_listening frontend "$tmp/vm.sock"

say_step "guest: $kind"
if [ "$kind" = ivshmem ]; then
	: >"$tmp/none"
	boot_driver --private --mem 384M --ivshmem "$tmp/vm.sock" --script "$tmp/none" \
		--add "$vhx_root/examples/initramfs-hmx/init" --append "root=/dev/vda vhx_hold=1"
	wait_guest '^HOLD'
	sed -n 's/\r//g; /^DEBIAN\|^TREE/p' "$tmp/guest.log"
	python3 "$here/isolation.py" --window "$(cat "$tmp/guest.pid")" "${daemon_pid[frontend]}" \
		"${daemon_pid[backend]}" || fail "isolation"
else
	boot "$kind" --disk "$tmp/vm.sock" --mem 256M --script "$here/guest/tree.sh" \
		--append vhx_hold=1
	wait_guest '^HOLD'
	sed -n 's/\r//g; /^GUEST-UP\|^TREE/p' "$tmp/guest.log"
	isolation "$(cat "$tmp/guest.pid")" "${daemon_pid[frontend]}" "${daemon_pid[backend]}"
fi
say go
guest_ok
"$vhxctl" stats "$tmp/fe.ctl" >"$tmp/fe.json" || fail "no counters from the frontend"
"$vhxctl" stats "$tmp/be/be.ctl" >"$tmp/be.json" || fail "no counters from the backend"
stop frontend
stop backend

say_step "host"
check_image "$tmp/be/disk.img" "$tmp/guest.log"

say_step "what it took"
if [ "$kind" = ivshmem ]; then
	# The frontend's half of the counters was in the guest.
	python3 "$here/table.py" "$tmp/be.json" "$tmp/be.json" | grep -E 'requests|payload'
	[ "${PIPESTATUS[0]}" -eq 0 ] || fail "counters"
	echo
	echo "demo: passed in $((SECONDS - began)) s"
	exit 0
fi
python3 "$here/table.py" "$tmp/fe.json" "$tmp/be.json" || fail "counters"

say_step "your own QEMU"
cat <<TEXT
$vhx_backend --listen unix:/tmp/be.sock --device blk,id=disk0,file=YOUR.img &
$vhx_frontend --connect unix:/tmp/be.sock --vhost-user /tmp/vm.sock,id=disk0 &
qemu-system-x86_64 ... -m 1G \\
  -object memory-backend-memfd,id=mem,size=1G,share=on -numa node,memdev=mem \\
  -chardev socket,id=c0,path=/tmp/vm.sock,reconnect=1 \\
  -device vhost-user-blk-pci,chardev=c0
or, for one disk and one virtual machine, a single command in front of QEMU:
$vhx_frontend --vhost-user /tmp/vm.sock --spawn blk,file=YOUR.img &
TEXT
echo
echo "demo: passed in $((SECONDS - began)) s"

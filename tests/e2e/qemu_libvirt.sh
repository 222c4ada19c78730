#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# libvirt starts the guest, from the lines of README, as an ordinary user whose session keeps all it makes in the test's
# directory. The backend is killed under the guest and another one takes its place; frontend and libvirt stay.
# shellcheck source=../lab/lib.sh
. "$(dirname "$0")/../lab/lib.sh"
need_programs
need libvirtd libvirt-daemon
need virsh libvirt-clients
need_file "/usr/lib/$(uname -m)-linux-gnu/libvirt/connection-driver/libvirt_driver_qemu.so" libvirt-daemon-driver-qemu
need setpriv util-linux
need debugfs e2fsprogs
need_qemu 6.1
make_image "$tmp/disk.img" 128M ext4

user=()
uid=$(id -u)
if [ "$uid" -eq 0 ]; then
	uid=65534 # nobody: libvirt looks its user up
	user=(setpriv --reuid="$uid" --regid="$uid" --clear-groups --inh-caps=-all --bounding-set=-all)
fi
# Short: paths of sockets are.
run=$tmp/r
mkdir -p "$run/libvirt" "$tmp/export"
ln -s "$run/console" "$tmp/guest.log"
# No other daemon for the console's sake, which would outlive the test.
echo 'stdio_handler = "file"' >"$run/libvirt/qemu.conf"
chown -R "$uid" "$run" "$tmp/disk.img"
as_user=(${user[@]+"${user[@]}"} env HOME="$run" XDG_RUNTIME_DIR="$run" XDG_CONFIG_HOME="$run" XDG_CACHE_HOME="$run")

serve_disk() {
	start backend "${as_user[@]}" "$vhx_backend" --listen "unix:$run/be.sock" \
		--device "blk,id=disk0,file=$tmp/disk.img"
	wait_listening backend "$run/be.sock"
}

# lines TAG: of README's section, an element from its first line to its last.
lines() {
	sed -n '/^\*\*libvirt\*\*/,/^\*\*Cloud/p' "$vhx_root/README.md" | tr '\n' ' ' | grep -o "<$1[ >].*</$1>"
}

{
	cat "$vhx_lab/guest/tree.sh"
	# shellcheck disable=SC2016 # for the guest
	echo 'mount -t ext4 /dev/vda /mnt && echo KILL-IT && cp -r /mnt/tree /mnt/again && sync &&
		diff -r /mnt/tree /mnt/again && rm -r /mnt/again && umount /mnt'
} >"$tmp/run.sh"
"$vhx_lab/qemu.sh" --script "$tmp/run.sh" --export "$tmp/export" || fail "no guest"
memory=$(lines memoryBacking) disk=$(lines disk)
cat >"$tmp/vm.xml" <<XML
<domain type='qemu'>
  <name>vhx</name>
  <memory unit='MiB'>256</memory>
  $memory
  <os>
    <type arch='x86_64' machine='q35'>hvm</type>
    <kernel>$tmp/export/vmlinuz</kernel>
    <initrd>$tmp/export/initrd</initrd>
    <cmdline>$(cat "$tmp/export/cmdline")</cmdline>
  </os>
  <cpu mode='maximum'/>
  <on_reboot>destroy</on_reboot>
  <on_crash>destroy</on_crash>
  <devices>
    ${disk//\/tmp\/vm.sock/$run/vm.sock}
    <serial type='file'><source path='$run/console'/></serial>
    <controller type='usb' model='none'/>
    <memballoon model='none'/>
  </devices>
</domain>
XML
serve_disk
start frontend "${as_user[@]}" "$vhx_frontend" --connect "unix:$run/be.sock" --control "$run/fe.ctl,allow-uid=$(id -u)" \
	--vhost-user "$run/vm.sock,id=disk0"
wait_listening frontend "$run/vm.sock"
start libvirtd "${as_user[@]}" libvirtd --timeout 600
virsh=("${as_user[@]}" virsh --connect qemu:///session)
wait_for "libvirtd" "$vhx_patience" "${virsh[@]}" version
"${virsh[@]}" create "$tmp/vm.xml" >"$tmp/virsh.log" 2>&1 || fail "libvirt does not start the guest"
# So that no failure leaves it behind.
daemon_pid[vm]=$(cat "$run/libvirt/qemu/run/vhx.pid") || fail "libvirt does not say which process the guest is"

# While it copies, the backend dies with requests in its hands.
wait_for "the guest to copy" "$vhx_guest_patience" guest_said '^KILL-IT'
isolation "${daemon_pid[vm]}" "${daemon_pid[frontend]}" "${daemon_pid[backend]}"
in_flight() { [ "$(stats "$run/fe.ctl" "s['devices'][0]['requests'] > s['devices'][0]['completed']")" = True ]; }
kill -STOP "${daemon_pid[backend]}"
wait_for "requests in flight" "$vhx_guest_patience" in_flight
crash backend
serve_disk
wait_for "the guest's verdict" "$vhx_guest_patience" guest_said '^GUEST-EXIT'
guest_said '^GUEST-EXIT 0' || fail "the guest's script failed"
gone() { ! "${virsh[@]}" domstate vhx; }
wait_for "the end of the guest" "$vhx_patience" gone
[ "$(stats "$run/fe.ctl" "s['devices'][0]['replays']")" -ge 1 ] || fail "no request was sent again"
stop libvirtd
stop frontend
stop backend
check_image "$tmp/disk.img" "$tmp/guest.log"

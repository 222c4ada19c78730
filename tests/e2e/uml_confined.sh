#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# The doors to guest memory that do not lead through the exchange: everything here runs as one user, which on a plain
# Linux may read the memory of all its processes. A backend in the sandbox that vhx-backend has may not, neither the
# frontend's nor the virtual machine's; and the same trials without the sandbox show that they would find the way.
# shellcheck source=../lab/lib.sh
. "$(dirname "$0")/../lab/lib.sh"
need_programs
need setpriv util-linux
need_uml
intruder=$vhx_build/tests/e2e/intruder
[ -x "$intruder" ] || skip "package liburing-dev was missing when this was built"
"$vhx_backend" --help | grep -q -- --sandbox || fail "there is no sandbox"

# Root may do everything: one ordinary user for all. Its programs lie where it finds them.
user=()
if [ "$(id -u)" -eq 0 ]; then
	user=(setpriv --reuid=65534 --regid=65534 --clear-groups --inh-caps=-all)
	cp "$vhx_backend" "$vhx_frontend" "$intruder" "$tmp/"
	vhx_backend=$tmp/vhx-backend vhx_frontend=$tmp/vhx-frontend intruder=$tmp/intruder
	chmod 777 "$tmp"
fi
make_image "$tmp/disk.img" 128M ext4
[ ${#user[@]} -eq 0 ] || chown 65534:65534 "$tmp/disk.img"
start backend "${user[@]}" "$vhx_backend" --listen "unix:$tmp/be.sock" --device "blk,id=disk0,file=$tmp/disk.img"
wait_listening backend "$tmp/be.sock"
start frontend "${user[@]}" "$vhx_frontend" --connect "unix:$tmp/be.sock" --vhost-user "$tmp/vm.sock,id=disk0"
wait_listening frontend "$tmp/vm.sock"
boot uml --disk "$tmp/vm.sock" --script "$vhx_lab/guest/tree.sh" --append vhx_hold=1 \
	${user[@]+--user 65534}
wait_guest '^HOLD'
fe=${daemon_pid[frontend]} vm=$(cat "$tmp/guest.pid")

# What the programs say of themselves is what the kernel knows, of every thread.
for d in frontend backend; do
	for status in "/proc/${daemon_pid[$d]}/task"/*/status; do
		assert_eq "$d: no new privileges" "$(awk '/^NoNewPrivs:/ { print $2 }' "$status")" 1
		assert_eq "$d: filter of system calls" "$(awk '/^Seccomp:/ { print $2 }' "$status")" 2
		assert_eq "$d: capabilities" "$(awk '/^Cap(Prm|Eff|Inh|Amb):/ { print $2 }' "$status" | sort -u)" \
			0000000000000000
	done
done

# memory_of PID: "ADDRESS FD" of the largest shared mapping of a file: the guest's memory.
memory_of() {
	python3 - "$1" <<-'PY'
	import os, sys
	pid = sys.argv[1]
	best = (0, 0, '')
	for line in open('/proc/%s/maps' % pid):
	    span, mode, _, _, inode = line.split()[:5]
	    low, high = (int(x, 16) for x in span.split('-'))
	    if mode[3] == 's' and mode[0] == 'r' and inode != '0':
	        best = max(best, (high - low, low, inode))
	fd = 0
	for name in os.listdir('/proc/%s/fd' % pid):
	    try:
	        if str(os.stat('/proc/%s/fd/%s' % (pid, name)).st_ino) == best[2]:
	            fd = int(name)
	    except OSError:
	        pass
	print('%x %d' % (best[1], fd))
	PY
}

# trial AS DOOR VICTIM...: "open" or "closed", and anything else is a failure of the test.
trial() {
	local rc
	"${user[@]}" "$intruder" "$@" >"$tmp/trial.out" 2>&1
	rc=$?
	case $rc in
	0) echo open ;;
	1|159) echo closed ;; # 159: the filter's SIGSYS
	*) echo "status $rc: $(tail -n 1 "$tmp/trial.out")" ;;
	esac
}

# As root, /proc shows what is looked for; an ordinary user could not see it of the frontend.
read -r vm_address vm_fd <<<"$(memory_of "$vm")"
if [ ${#user[@]} -gt 0 ]; then
	read -r fe_address fe_fd <<<"$(memory_of "$fe")"
else
	fe_address=$vm_address fe_fd=3
fi
victims=("$vm $vm_address $vm_fd $tmp/vm.sock" "$fe $fe_address $fe_fd $tmp/vm.sock")
names=("virtual machine" frontend)
for i in 0 1; do
	read -ra victim <<<"${victims[$i]}"
	for door in mem fd readv writev ptrace getfd kill; do
		assert_eq "confined: $door of the ${names[$i]}" "$(trial backend $door "${victim[@]}")" closed
	done
done
read -ra victim <<<"${victims[0]}"
for door in connect uring exec fork unshare execmem file remove; do
	assert_eq "confined: $door" "$(trial backend $door "${victim[@]}")" closed
done
[ -S "$tmp/vm.sock" ] || fail "the socket of the frontend was removed"

# Without the sandbox: the virtual machine is open to its user, the frontend is not.
scope=$(cat /proc/sys/kernel/yama/ptrace_scope 2>/dev/null || echo 0)
if [ "$scope" = 0 ]; then
	for door in mem fd readv writev getfd; do
		assert_eq "not confined: $door of the virtual machine" "$(trial nothing $door "${victim[@]}")" open
	done
fi
for door in connect uring exec fork execmem file; do
	assert_eq "not confined: $door" "$(trial nothing $door "${victim[@]}")" open
done
read -ra victim <<<"${victims[1]}"
for door in mem fd readv writev ptrace getfd; do
	assert_eq "not confined: $door of the frontend" "$(trial nothing $door "${victim[@]}")" closed
done

# All of this cost neither of them its life, nor the disk a byte.
alive frontend || fail "the frontend has died"
say go
guest_ok
stop frontend
stop backend
[ ! -e "$tmp/be.sock" ] || fail "the confined backend left its socket behind"
check_image "$tmp/disk.img" "$tmp/guest.log"

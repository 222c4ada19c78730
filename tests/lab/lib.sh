# SPDX-License-Identifier: BSD-3-Clause
# Sourced by every end-to-end test and by the demo: a private directory, daemons that are always
# ended, waiting with a guard, assertions, guests.
#   exit 0 passed, 77 skipped (the last line says why), anything else failed.
# VHX_BUILD names the build directory, VHX_KEEP=1 leaves the private directory behind.
# shellcheck shell=bash
# shellcheck disable=SC2034 # some variables are for the scripts that source this
set -u
PATH=$PATH:/usr/sbin:/sbin
export LC_ALL=C
vhx_lab=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
vhx_root=$(cd "$vhx_lab/../.." && pwd)
vhx_build=${VHX_BUILD:-$vhx_root/build}
vhx_backend=$vhx_build/tools/vhx-backend
vhx_frontend=$vhx_build/tools/vhx-frontend
vhx_ivshmem=$vhx_build/tools/vhx-ivshmem
vhx_relay=$vhx_build/tests/lab/hmx-test-relay
vhxctl=$vhx_build/tools/vhxctl
vhx_argo_cat=$vhx_build/tools/vhx-argo-cat
# Hang guards, not expectations: a slow machine must not fail a test.
vhx_patience=${VHX_PATIENCE:-60}
vhx_guest_patience=${VHX_GUEST_PATIENCE:-300}

tmp=$(mktemp -d "${TMPDIR:-/tmp}/vhx.XXXXXX") || exit 1
chmod 755 "$tmp"
declare -A daemon_pid=()

fail() {
	echo "FAIL: $*"
	exit 1
}

skip() {
	echo "SKIP: $*"
	exit 77
}

# need COMMAND PACKAGE: skip, naming the package, where the command is missing.
need() {
	command -v "$1" >/dev/null || skip "package $2 is missing ($1)"
}

need_file() {
	[ -e "$1" ] || skip "package $2 is missing ($1)"
}

need_programs() {
	local p
	for p in "$vhx_backend" "$vhx_frontend" "$vhx_ivshmem" "$vhxctl" "$vhx_argo_cat"; do
		[ -x "$p" ] || fail "$p was not built"
	done
}

show_logs() {
	local f
	for f in "$tmp"/*.log; do
		[ -s "$f" ] || continue
		echo "--- $(basename "$f"), last lines"
		tail -n 25 "$f"
	done
}

vhx_cleanup() {
	local rc=$? name
	trap - EXIT INT TERM HUP
	for name in "${!daemon_pid[@]}"; do
		kill -CONT "${daemon_pid[$name]}" 2>/dev/null
		kill -TERM "${daemon_pid[$name]}" 2>/dev/null
	done
	for name in "${!daemon_pid[@]}"; do
		reap "${daemon_pid[$name]}" 5 >/dev/null
	done
	if [ $rc -ne 0 ] && [ $rc -ne 77 ]; then
		show_logs
	fi
	if [ "${VHX_KEEP:-}" = 1 ]; then
		echo "kept: $tmp"
	else
		rm -rf "$tmp"
	fi
	exit $rc
}
trap vhx_cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

# reap PID SECONDS: waits for its end, kills it after SECONDS; returns its status.
reap() {
	local pid=$1 end=$((SECONDS + $2))
	while kill -0 "$pid" 2>/dev/null; do
		if [ $SECONDS -ge $end ]; then
			kill -KILL "$pid" 2>/dev/null
			break
		fi
		sleep 0.05
	done
	wait "$pid" 2>/dev/null
}

# start NAME COMMAND...: a daemon with its output in NAME.log (appended when started again).
start() {
	local name=$1
	shift
	"$@" </dev/null >>"$tmp/$name.log" 2>&1 &
	daemon_pid[$name]=$!
}

alive() {
	kill -0 "${daemon_pid[$1]}" 2>/dev/null
}

# stop NAME: SIGTERM, which a daemon answers with a clean exit.
stop() {
	local pid=${daemon_pid[$1]} rc
	unset "daemon_pid[$1]"
	kill -TERM "$pid" 2>/dev/null || fail "$1 had ended before it was asked to"
	reap "$pid" "$vhx_patience"
	rc=$?
	[ $rc -ne 137 ] || fail "$1 ignored SIGTERM for $vhx_patience s"
	[ $rc -eq 0 ] || fail "$1 ended with status $rc on SIGTERM"
}

# crash NAME: SIGKILL, no chance to say goodbye.
crash() {
	local pid=${daemon_pid[$1]}
	unset "daemon_pid[$1]"
	kill -KILL "$pid" 2>/dev/null || fail "$1 had ended before it was killed"
	wait "$pid" 2>/dev/null
	return 0
}

# finish NAME: waits for a program that ends by itself; returns its status.
finish() {
	local pid=${daemon_pid[$1]}
	unset "daemon_pid[$1]"
	reap "$pid" "${2:-$vhx_guest_patience}"
}

# wait_for WHAT SECONDS COMMAND...: until the command succeeds.
wait_for() {
	local what=$1 end=$((SECONDS + $2))
	shift 2
	until "$@" >/dev/null 2>&1; do
		[ $SECONDS -lt $end ] || fail "waited in vain for $what"
		sleep 0.05
	done
}

# A socket file alone may be stale: the kernel's table shows who listens (flag 00010000).
listening() {
	awk -v p="$1" '$4 == "00010000" && $8 == p { found = 1 } END { exit !found }' /proc/net/unix
}

# wait_listening NAME PATH: until daemon NAME listens on PATH, or fails when it ended before.
wait_listening() {
	local end=$((SECONDS + vhx_patience))
	until listening "$2"; do
		alive "$1" || fail "$1 ended before it listened on $2"
		[ $SECONDS -lt $end ] || fail "$1 does not listen on $2"
		sleep 0.05
	done
}

assert_eq() {
	[ "$2" = "$3" ] || fail "$1: '$2', expected '$3'"
}

assert_match() {
	grep -Eq -- "$3" <<<"$2" || fail "$1: no match for '$3' in: $2"
}

assert_log() {
	grep -Eq -- "$2" "$tmp/$1.log" || fail "$1 did not say '$2'"
}

assert_no_log() {
	! grep -E -- "$2" "$tmp/$1.log" || fail "$1 said '$2'"
}

# isolation VM FRONTEND BACKEND (process ids): who has the guest's memory? Confined programs show that to
# root only.
isolation() {
	if [ "$(id -u)" -eq 0 ]; then
		python3 "$vhx_lab/isolation.py" "$@" || fail "isolation"
	else
		echo "isolation: not looked at: confined programs show their mappings to root only"
	fi
}

# make_image FILE SIZE [ext4]
make_image() {
	need mkfs.ext4 e2fsprogs
	rm -f "$1"
	truncate -s "$2" "$1" || fail "no space for $1"
	if [ "${3-}" = ext4 ]; then
		mkfs.ext4 -q -F "$1" >"$tmp/mkfs.log" 2>&1 || fail "mkfs.ext4 failed"
	fi
}

# check_image FILE LOG: fsck the image, take the files out of it with debugfs (no mount, no root)
# and compare them with the sums that the guest printed into LOG.
check_image() {
	local out=$tmp/extracted cnt
	e2fsck -fn "$1" >"$tmp/e2fsck.log" 2>&1 || fail "e2fsck finds errors in $1"
	rm -rf "$out"
	mkdir "$out"
	debugfs -R "rdump /tree $out" "$1" >"$tmp/debugfs.log" 2>&1
	sed -n 's/\r//g; s/^SUM //p' "$2" >"$tmp/sums"
	cnt=$(wc -l <"$tmp/sums")
	[ "$cnt" -ge 100 ] || fail "the guest printed $cnt checksums"
	(cd "$out/tree" && sha256sum --quiet -c "$tmp/sums") || fail "files differ from the guest's"
	assert_eq "files in the image" "$(find "$out/tree" -type f | wc -l)" "$cnt"
	echo "image: fsck clean, $cnt files equal to what the guest wrote"
}

# made WHAT COMMAND...: sets `made` to what the command prints. It ends with 77 where something can't be
# had, which is a reason to skip; that something does not build is not.
made() {
	local what=$1 rc
	shift
	made=$("$@" 2>"$tmp/made.log")
	rc=$?
	[ $rc -ne 77 ] || skip "$(tail -n 1 "$tmp/made.log")"
	[ $rc -eq 0 ] || fail "$what can't be made"
}

need_guest_tools() {
	need cpio cpio
	need depmod kmod
	need_file /bin/busybox busybox-static
}

need_uml() {
	need_guest_tools
	made "the guest" "$vhx_lab/guest-uml.sh"
}

# The lab's own kernel, with every check that it has.
need_umlk() {
	need_guest_tools
	made "the lab's own kernel" "$vhx_lab/guest-umlk.sh"
}

# need_qemu [KERNEL]: 6.1 (default), 6.12 or sid.
need_qemu() {
	need qemu-system-x86_64 qemu-system-x86
	need_guest_tools
	made "the guest" "$vhx_lab/guest-qemu.sh" "${1:-6.1}"
}

need_xen() {
	need qemu-system-x86_64 qemu-system-x86
	need_guest_tools
	# Three kernels on one emulated machine, one after the other.
	vhx_guest_patience=$((vhx_guest_patience * 4))
	made "Xen" "$vhx_lab/guest-xen.sh"
	xen_dir=$made
	made "the driver" env VHX_BUILD="$vhx_build" "$vhx_lab/modules.sh" 6.1
	driver_modules=$made
}

# need_kernel NAME: a guest for driver tests, one of umlk, 6.1, 6.12, arm64, sid, and the driver's modules for
# it. Then `boot_driver` boots it.
need_kernel() {
	driver_kernel=$1
	case $1 in
	umlk) need_umlk ;;
	arm64)
		need qemu-system-aarch64 qemu-system-arm
		need aarch64-linux-gnu-gcc gcc-aarch64-linux-gnu
		need_guest_tools
		made "the guest" "$vhx_lab/guest-qemu.sh" 6.1 arm64
		;;
	*)
		need qemu-system-x86_64 qemu-system-x86
		need_guest_tools
		made "the guest" "$vhx_lab/guest-qemu.sh" "$1"
		;;
	esac
	made "the driver" env VHX_BUILD="$vhx_build" "$vhx_lab/modules.sh" "$1"
	driver_modules=$made
}

# boot_driver OPTION...: a guest that has the driver's modules, of the kernel that need_kernel named.
boot_driver() {
	case $driver_kernel in
	umlk) set -- umlk "$@" ;;
	arm64) set -- qemu --arch arm64 "$@" ;;
	*) set -- qemu --kernel "$driver_kernel" "$@" ;;
	esac
	boot "$@" --modules "$driver_modules"
}

# in_netns "$@": the rest of the test runs in a network namespace of its own, with nothing in it but loopback, as
# whoever may make taps there. Before anything was started; guests are fetched before.
in_netns() {
	local as_root=()
	need unshare util-linux
	need ip iproute2
	if [ -z "${VHX_IN_NETNS:-}" ]; then
		[ "$(id -u)" -eq 0 ] || as_root=(--map-root-user)
		unshare --net ${as_root[@]+"${as_root[@]}"} true 2>/dev/null || skip "no network namespace can be made here"
		rm -rf "$tmp"
		VHX_IN_NETNS=1 exec unshare --net ${as_root[@]+"${as_root[@]}"} "$0" "$@"
	fi
	ip link set lo up || fail "no loopback"
	[ -w /dev/net/tun ] || skip "/dev/net/tun is missing, or only root's"
}

# uplink_make: passt copies a host's addresses, so a namespace gets one, 10.8.0.5, and a route by 10.8.0.1.
uplink_make() {
	ip link add up0 type dummy 2>/dev/null || ip tuntap add up0 mode tap || skip "no interface can be made here"
	ip addr add 10.8.0.5/24 dev up0
	ip link set up0 up
	ip route add default via 10.8.0.1
}

# start_ivshmem [OPTION...]: the helper between a QEMU at $tmp/iv.sock and the backend.
start_ivshmem() {
	[ $# -gt 0 ] || set -- --qemu "$tmp/iv.sock,size=4M"
	start ivshmem "$vhx_ivshmem" --connect "unix:$tmp/be.sock" --control "$tmp/iv.ctl" "$@"
	wait_listening ivshmem "$tmp/iv.sock"
}

# qmp COMMAND [NAME=VALUE]...: of the QEMU that was booted with --monitor "$tmp/qmp.sock".
qmp() {
	python3 "$vhx_lab/qmp.py" "$tmp/qmp.sock" "$@"
}

# boot KIND OPTION...: starts a guest as daemon "guest"; its console is guest.log, and `say` writes
# to it. KIND is uml, umlk (the lab's own kernel), qemu or xen.
boot() {
	local kind=$1
	shift
	if [ "$kind" = umlk ]; then
		kind=uml
		set -- --own "$@"
	fi
	[ -p "$tmp/console" ] || mkfifo "$tmp/console"
	rm -f "$tmp/guest.pid"
	start guest-run "$vhx_lab/$kind.sh" --quiet --log "$tmp/guest.log" \
		--stdin "$tmp/console" --pidfile "$tmp/guest.pid" \
		--timeout "$vhx_guest_patience" "$@"
}

# The runner holds the FIFO open for reading and writing: this can't block while the guest lives.
say() {
	echo "$*" >"$tmp/console"
}

guest_said() {
	sed 's/\r//g' "$tmp/guest.log" 2>/dev/null | grep -Eq -- "$1"
}

# wait_guest PATTERN: until the guest prints a line that matches; fails when the guest ends first.
wait_guest() {
	local end=$((SECONDS + vhx_guest_patience))
	until guest_said "$1"; do
		alive guest-run || guest_said "$1" || fail "the guest ended before it said '$1'"
		[ $SECONDS -lt $end ] || fail "the guest never said '$1'"
		sleep 0.1
	done
}

# guest_ok: waits for the end of the guest; its script must have succeeded.
guest_ok() {
	local rc
	finish guest-run $((vhx_guest_patience + 10))
	rc=$?
	[ $rc -eq 0 ] || fail "the guest's script ended with status $rc"
}

# stats PATH EXPRESSION: evaluates a Python expression over the counters, named s.
stats() {
	"$vhxctl" stats "$1" >"$tmp/stats.json" || fail "vhxctl stats $1 failed"
	python3 -c 'import json, sys
s = json.load(open(sys.argv[1]))
print(eval(sys.argv[2]))' "$tmp/stats.json" "$2"
}

# start_backend / start_frontend [OPTION...]: the pair that most tests use. The backend serves
# $tmp/disk.img as disk0 unless options are given.
start_backend() {
	[ $# -gt 0 ] || set -- --device "blk,id=disk0,file=$tmp/disk.img"
	start backend "$vhx_backend" --listen "unix:$tmp/be.sock" --control "$tmp/be.ctl" "$@"
	wait_listening backend "$tmp/be.sock"
}

start_frontend() {
	[ $# -gt 0 ] || set -- --vhost-user "$tmp/vm.sock,id=disk0"
	start frontend "$vhx_frontend" --connect "unix:$tmp/be.sock" --control "$tmp/fe.ctl" "$@"
	wait_listening frontend "$tmp/vm.sock"
}

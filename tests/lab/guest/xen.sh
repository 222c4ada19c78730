# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=dash
# dom0: sourced by scripts of xen.sh. It starts what a toolstack needs, and handles domUs, each by its name:
#   domu_create NAME pv|pvh [FILE...]   boots it, with these files in its root directory
#   domu_do NAME COMMAND                runs one line in it, shows what that prints, returns its status
#   domu_start NAME COMMAND             only starts it: $call is its number for domu_wait NAME NUMBER
#   domu_destroy NAME, domu_reboot NAME
# A domU has the programs of --program and --fio too, and the modules of --modules, in /driver: it loads those of
# /domu/order (lines of a name and parameters), if the script makes one.
set -u
# A guard against hangs, in steps of half a second: each costs an emulated processor; never an expectation.
patience=1200
# A file, since a command in a pipe is of a shell of its own.
echo 0 >/tmp/domu.calls

fail() {
	echo "dom0: $*"
	for f in /var/log/xen/console/guest-*.log /tmp/*.log; do
		[ -s "$f" ] || continue
		echo "--- $f"
		tail -n 25 "$f"
	done
	dmesg | tail -n 20
	xl dmesg 2>/dev/null | tail -n 20
	exit 1
}

# wait_for WHAT COMMAND...: until it succeeds.
wait_for() {
	what=$1 left=$patience
	shift
	until "$@" >/dev/null 2>&1; do
		left=$((left - 1))
		[ $left -gt 0 ] || fail "waited in vain for $what"
		sleep 0.5
	done
}

xen_start() {
	mkdir -p /dev/pts /proc/xen /run/xenstored /run/xen /var/run /var/lib/xen /var/lib/xenstored \
		/var/log/xen/console
	ln -sf /run/xen /var/run/xen
	mount -t devpts devpts /dev/pts
	[ -e /dev/ptmx ] || ln -s pts/ptmx /dev/ptmx
	for m in xen-privcmd xen-evtchn xenfs xen-gntdev xen-gntalloc; do
		modprobe $m || fail "modprobe $m"
	done
	mount -t xenfs xenfs /proc/xen
	export XENSTORED_ROOTDIR=/run/xenstored
	xenstored --pid-file /run/xenstored.pid || fail xenstored
	wait_for xenstored xenstore-read -s /
	xen-init-dom0 >/tmp/init-dom0.log || fail xen-init-dom0
	xenconsoled --log=guest --log-dir=/var/log/xen/console --pid-file=/run/xenconsoled.pid || fail xenconsoled
}

domu_log() {
	echo "/var/log/xen/console/guest-$1.log"
}

# Lines end as on a terminal.
domu_said() {
	grep -q -- "$2" "/var/log/xen/console/guest-$1.log"
}

domu_id() {
	xl domid "$1" 2>/dev/null
}

# domu_initramfs FILE...: /tmp/domu.cpio, with these files.
domu_initramfs() {
	rm -rf /tmp/domu
	mkdir -p /tmp/domu
	cp /domu.sh /tmp/domu/run.sh
	for f in "$@"; do
		cp "$f" /tmp/domu/ || fail "no $f for a domU"
	done
	if [ -e /domu/order ]; then
		mkdir /tmp/domu/driver
		cp /driver/*.ko /tmp/domu/driver/
		cp /domu/order /tmp/domu/driver/order
	fi
	cat /domu/*.cpio >/tmp/domu.cpio
	(cd /tmp/domu && find . | cpio -o -H newc 2>/dev/null) >>/tmp/domu.cpio
}

# domu_create NAME TYPE [FILE...]: the second one of a name has the files of the first. With $domu_append on its
# kernel's command line and $domu_config as further lines of its configuration. Its TSC is the processor's own:
# Xen does not trust that of an emulated one, and each look at Xen's would be a trap.
domu_create() {
	name=$1 type=$2
	shift 2
	[ -e "/tmp/$name.cpio" ] || { domu_initramfs "$@"; mv /tmp/domu.cpio "/tmp/$name.cpio"; }
	cat >"/tmp/$name.cfg" <<-TEXT
	name = "$name"
	type = "$type"
	kernel = "/domu/vmlinux"
	ramdisk = "/tmp/$name.cpio"
	extra = "console=hvc0 quiet panic=-1 mitigations=off ${domu_append:-}"
	memory = 192
	vcpus = 1
	tsc_mode = "native"
	on_crash = "destroy"
	on_reboot = "restart"
	${domu_config:-}
	TEXT
	: >"$(domu_log "$name")"
	xl create -q "/tmp/$name.cfg" >"/tmp/$name.log" 2>&1 || fail "domU $name was not created"
	domu_up "$name"
}

# domu_up NAME: until it takes commands. That it still exists is asked now and then only.
domu_up() {
	left=$patience
	until domu_said "$1" '^DOMU-READY'; do
		left=$((left - 1))
		[ $left -gt 0 ] || fail "domU $1 is not up"
		[ $((left % 20)) -ne 0 ] || domu_id "$1" >/dev/null || fail "domU $1 ended before it was up"
		sleep 0.5
	done
}

domu_start() {
	call=$(($(cat /tmp/domu.calls) + 1))
	echo $call >/tmp/domu.calls
	tty=$(xenstore-read "/local/domain/$(domu_id "$1")/console/tty") || fail "domU $1 has no console"
	echo "$call $2" >"$tty"
}

# domu_wait NAME NUMBER: shows what the command printed and returns its status.
domu_wait() {
	left=$patience
	until domu_said "$1" "^DONE $2 "; do
		left=$((left - 1))
		[ $left -gt 0 ] || fail "no end of command $2 in domU $1"
		[ $((left % 20)) -ne 0 ] || domu_id "$1" >/dev/null || { echo "dom0: domU $1 ended"; return 125; }
		sleep 0.5
	done
	sed 's/\r//g' "$(domu_log "$1")" | sed -n "/^CALL $2\$/,/^DONE $2 /p" | sed '1d;$d'
	return "$(sed -n "s/\r//g; s/^DONE $2 //p" "$(domu_log "$1")")"
}

domu_do() {
	domu_start "$1" "$2"
	domu_wait "$1" "$call"
}

domu_destroy() {
	xl destroy "$1" || fail "domU $1 was not destroyed"
	wait_for "the end of domU $1" domu_absent "$1"
}

domu_absent() {
	! domu_id "$1"
}

# domu_reboot NAME: it comes back with another domid.
domu_reboot() {
	before=$(domu_id "$1")
	: >"$(domu_log "$1")"
	domu_start "$1" 'reboot -f'
	wait_for "another domid of $1" domu_other "$1" "$before"
	domu_up "$1"
}

domu_other() {
	now=$(domu_id "$1") && [ "$now" != "$2" ]
}

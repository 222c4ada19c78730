# SPDX-License-Identifier: BSD-3-Clause
# Sourced by uml.sh, qemu.sh and xen.sh: what the runners share. A runner boots one guest, shows its
# console, and exits with the status of the guest's script: 124 after the time limit, 125 when the
# guest ended without a verdict.
#
# UML leaves children behind when it is killed. The guest is a session of its own (setsid), UML
# opens one more, and the end of a run, whatever its cause, is a SIGKILL to all that is left of both.
# shellcheck shell=bash disable=SC2034,SC2154

guest_usage() {
	cat <<-'TEXT'
	  --disk SOCKET    vhost-user-blk socket to attach; may be repeated
	  --device TYPE:SOCKET  any other vhost-user device, such as rng; may be repeated. Its
	                   driver is for the script to load, by modprobe
	  --script FILE    run in the guest as /run.sh; its status is this program's
	  --add FILE       put FILE into the guest's root directory; may be repeated
	  --program FILE   a program of this machine, with its libraries, in the guest's /bin; may be repeated
	  --fio            the guest has fio
	  --mem SIZE       guest memory, such as 256M
	  --timeout S      give up after S seconds (default 120): a guard against hangs
	  --log FILE       keep the console output there
	  --stdin FIFO     the guest's console reads from there
	  --pidfile FILE   write the process id of the virtual machine there
	  --user UID       run the virtual machine as this user (needs root)
	  --quiet          do not show the console
	  --append TEXT    more words for the kernel command line
	  --modules DIR    the guest has the modules of DIR in /driver; what the kernel says is judged at the
	                   end, and a complaint is a failure
	  --load "NAME [PARAMETER]..."  insmod /driver/NAME.ko before the script; may be repeated, in order
	TEXT
}

guest_disks=() guest_devices=() guest_files=() guest_programs=() guest_load=()
guest_script='' guest_fio=no guest_mem=256M guest_timeout=120 guest_log='' guest_stdin=/dev/null
guest_pidfile='' guest_quiet=no guest_append='' guest_pid='' guest_tmp='' guest_tail='' guest_vm_pid='' guest_modules=''
guest_archives=() guest_user=() guest_owner=''

# guest_option ARG [VALUE]: sets guest_shift to the number of words it took, 0 for none.
guest_option() {
	guest_shift=2
	case $1 in
	--disk) guest_disks+=("$2") ;;
	--device) guest_devices+=("$2") ;;
	--script) guest_script=$2 ;;
	--add) guest_files+=("$2") ;;
	--program) guest_programs+=("$2") ;;
	--mem) guest_mem=$2 ;;
	--timeout) guest_timeout=$2 ;;
	--log) guest_log=$2 ;;
	--stdin) guest_stdin=$2 ;;
	--pidfile) guest_pidfile=$2 ;;
	--append) guest_append=$2 ;;
	--modules) guest_modules=$2 ;;
	--load) guest_load+=("$2") ;;
	--user)
		guest_user=(setpriv "--reuid=$2" "--regid=$2" --clear-groups --inh-caps=-all)
		guest_owner=$2
		;;
	--fio) guest_fio=yes guest_shift=1 ;;
	--quiet) guest_quiet=yes guest_shift=1 ;;
	*) guest_shift=0 ;;
	esac
}

# guest_kill_sessions SID...: in /proc/PID/stat the session is the fourth field after the name, which may hold anything.
guest_kill_sessions() {
	local stat line pid sids=" $* "
	for stat in /proc/[0-9]*/stat; do
		{ read -r line <"$stat"; } 2>/dev/null || continue
		pid=${line%% *}
		# shellcheck disable=SC2086 # split into words on purpose
		set -- ${line##*) }
		case $sids in *" ${4:--} "*) kill -KILL "$pid" 2>/dev/null ;; esac
	done
}

guest_end() {
	trap - EXIT INT TERM HUP
	[ -n "$guest_pid" ] && guest_kill_sessions "$guest_pid" "$guest_vm_pid"
	[ -n "$guest_tail" ] && kill "$guest_tail" 2>/dev/null
	[ -n "$guest_tmp" ] && rm -rf "$guest_tmp"
}

# What init loads after its own modules, line by line, and that it judges the kernel's log at the end.
guest_add_driver() {
	local line
	mkdir "$guest_tmp/add/driver"
	cp "$guest_modules"/*.ko "$guest_tmp/add/driver/" || exit 2
	for line in ${guest_load[@]+"${guest_load[@]}"}; do
		[ -e "$guest_tmp/add/driver/${line%% *}.ko" ] ||
			{ echo "$0: no ${line%% *}.ko in $guest_modules" >&2; exit 2; }
		echo "$line"
	done >"$guest_tmp/add/driver/order" || exit 2
}

# guest_prepare DIR: the initramfs of this run in guest_tmp.
guest_prepare() {
	local dir=$1 f
	[ -f "$guest_script" ] || { echo "$0: --script FILE is needed" >&2; exit 2; }
	guest_tmp=$(mktemp -d)
	trap guest_end EXIT
	trap 'guest_end; exit 143' INT TERM HUP
	mkdir "$guest_tmp/add"
	cp "$guest_script" "$guest_tmp/add/run.sh"
	for f in ${guest_files[@]+"${guest_files[@]}"}; do
		cp "$f" "$guest_tmp/add/"
	done
	[ -z "$guest_modules" ] || guest_add_driver
	(cd "$guest_tmp/add" && find . -mindepth 1 | cpio -o -H newc -R 0:0 --quiet) \
		>"$guest_tmp/add.cpio"
	set -- "$dir/initramfs.cpio" ${guest_archives[@]+"${guest_archives[@]}"} "$guest_tmp/add.cpio"
	if [ $guest_fio = yes ]; then
		[ -e "$dir/fio.cpio" ] || { echo "$0: package fio is needed" >&2; exit 77; }
		set -- "$@" "$dir/fio.cpio"
	fi
	if [ ${#guest_programs[@]} -gt 0 ]; then
		"$here/mkinitramfs.sh" --programs "$guest_tmp/programs.cpio" "${guest_programs[@]}" ||
			exit 2
		set -- "$@" "$guest_tmp/programs.cpio"
	fi
	cat "$@" >"$guest_tmp/initrd"
	[ -z "$guest_owner" ] || chown "$guest_owner" "$guest_tmp"
	[ -n "$guest_log" ] || guest_log=$guest_tmp/console
	: >"$guest_log"
}

# guest_run COMMAND...: boots, shows, waits, judges.
guest_run() {
	local rc verdict
	setsid timeout --foreground --signal=KILL "$guest_timeout" \
		${guest_user[@]+"${guest_user[@]}"} "$@" \
		<>"$guest_stdin" >>"$guest_log" 2>&1 &
	guest_pid=$!
	guest_find_vm
	if [ $guest_quiet = no ]; then
		tail -n +1 -s 0.1 -f --pid="$guest_pid" "$guest_log" 2>/dev/null |
			sed -u 's/\r//g' &
		guest_tail=$!
	fi
	wait "$guest_pid"
	rc=$?
	[ -n "$guest_tail" ] && wait "$guest_tail" 2>/dev/null
	guest_tail=''
	verdict=$(sed -n 's/\r//g; s/^GUEST-EXIT \([0-9][0-9]*\)$/\1/p' "$guest_log" | tail -n 1)
	if [ -n "$verdict" ]; then
		exit "$verdict"
	elif [ $rc -eq 124 ] || [ $rc -eq 137 ]; then
		echo "$0: no end of the guest within $guest_timeout s" >&2
		exit 124
	fi
	echo "$0: the guest ended without a verdict (status $rc)" >&2
	exit 125
}

# The virtual machine is the child of timeout, which appears a moment after it.
guest_find_vm() {
	local end=$((SECONDS + 10))
	while kill -0 "$guest_pid" 2>/dev/null && [ $SECONDS -lt $end ]; do
		read -r guest_vm_pid _ <"/proc/$guest_pid/task/$guest_pid/children"
		[ -n "$guest_vm_pid" ] && break
		sleep 0.01
	done 2>/dev/null
	[ -z "$guest_pidfile" ] || echo "$guest_vm_pid" >"$guest_pidfile"
}

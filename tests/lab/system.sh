#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# system.sh ROOT PIDFILE: the Debian system in ROOT runs, with its systemd as process 1 of namespaces of its own
# (processes, mounts, network, control groups), until this is told to end by SIGTERM; with it ends all that was started
# there. PIDFILE gets the number that process 1 has here, for nsenter. What this machine has in /usr is in /host there.
# Only root can do it; exit status 77 where the kernel lets nobody.
set -eu
root=$1 pidfile=$2
[ "$(id -u)" -eq 0 ] || { echo "system: only root can run a system" >&2; exit 77; }
group=
groups=$(mktemp -d)

end() {
	trap - EXIT TERM INT HUP
	[ -z "${pid-}" ] || kill -KILL "$pid" || true
	wait
	# What ended a moment ago may still count.
	for _ in {1..100}; do
		[ -d "${group:-/none}" ] || break
		find "$group" -depth -type d -exec rmdir {} + 2>/dev/null && break
		sleep 0.05
	done
	umount -l "$groups" || true
	rmdir "$groups"
	exit "${1:-0}"
} 2>/dev/null
trap 'end 1' EXIT
trap end TERM INT HUP
if ! mount -t cgroup2 vhx-lab "$groups" 2>/dev/null || ! mkdir "$groups/vhx-lab.$$" 2>/dev/null; then
	echo "system: there are no control groups to have here" >&2
	end 77
fi
group=$groups/vhx-lab.$$

# It is in the group before it has a namespace of groups, whose root the group is then.
# shellcheck disable=SC2016 # for the shell that is started
(
	sh -c 'echo $PPID' >"$group/cgroup.procs"
	exec unshare --cgroup --mount --pid --net --ipc --uts --fork --kill-child --mount-proc sh -ec '
		cd "$0"
		mount --bind . .
		cd "$0"
		mount -t proc proc proc
		mount -t sysfs -o ro sysfs sys
		mount -t cgroup2 cgroup sys/fs/cgroup
		mount -t tmpfs -o mode=755 run run
		mount -t tmpfs tmp tmp
		mkdir -p host
		mount --bind -o ro /usr host
		mount -t tmpfs -o mode=755 dev dev
		mkdir dev/shm dev/pts
		mount -t tmpfs shm dev/shm
		mount -t devpts -o newinstance,ptmxmode=666,mode=620 devpts dev/pts
		for d in null zero full random urandom tty; do
			: >"dev/$d"
			mount --bind "/dev/$d" "dev/$d"
		done
		ln -s pts/ptmx dev/ptmx
		ln -s /proc/self/fd dev/fd
		pivot_root . mnt
		umount -l /mnt
		hostname vhx-lab
		exec env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C container=vhx-lab \
			/lib/systemd/systemd --system --unit=multi-user.target --log-target=journal' "$root"
) &
pid=$!
for _ in {1..1200}; do
	read -r init _ <"/proc/$pid/task/$pid/children" || true
	if [ "$(cat "/proc/${init:-0}/comm" 2>/dev/null)" = systemd ]; then
		echo "$init" >"$pidfile.new"
		mv "$pidfile.new" "$pidfile"
		break
	fi
	sleep 0.05
done 2>/dev/null
wait $pid && end 0
echo "system: it ended by itself" >&2
end 1

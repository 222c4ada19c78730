#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# The Debian packages as an operator meets them: built from this tree, without a word from lintian, installed in a
# clean system, used there, the guest driver built by DKMS for that system's kernel, and purged without a trace. What
# README tells a new user to type is typed there, up to a guest of QEMU that writes to its disk and reads it back.
# The clean system is made once and kept in the cache.
# shellcheck source=../lab/lib.sh
. "$(dirname "$0")/../lab/lib.sh"
# shellcheck source=../lab/cache.sh
. "$vhx_lab/cache.sh"

[ "$(id -u)" -eq 0 ] || skip "only root can enter a clean system"
need dpkg-buildpackage dpkg-dev
need dh debhelper
need_file /usr/bin/dh_dkms dh-dkms
need lintian lintian
need mmdebstrap mmdebstrap
need nsenter util-linux
need debugfs e2fsprogs
# shellcheck disable=SC2119 # no options
need_qemu
guest=$made
unshare --mount --pid --fork true 2>/dev/null || skip "this machine lets root have no mounts of its own"
suite=$(sed -n 's/^VERSION_CODENAME=//p' /etc/os-release)
arch=$(dpkg --print-architecture)
[ -n "$suite" ] || skip "which Debian this is, is not known"
packages=(virtio-hmx libvhx0 libvhx-argo0 libvhx-dev hmx-dkms)

"$vhx_root/packaging/deb.sh" "$tmp/out" >"$tmp/build.log" 2>&1 || fail "the packages do not build"
lintian --fail-on error,warning --allow-root "$tmp"/out/*.changes >"$tmp/lintian.log" 2>&1 ||
	fail "lintian: $(cat "$tmp/lintian.log")"
echo "built, and lintian says: '$(cat "$tmp/lintian.log")'"

# What they need, by name; and what DKMS and a program on libvhx need besides.
depends=$(for p in virtio-hmx libvhx0 libvhx-argo0; do
	dpkg-deb -f "$tmp"/out/${p}_*.deb Depends
done | tr ',' '\n' | sed 's/^ *//; s/[ |].*//' | sort -u | tr '\n' ',')
include=${depends}dkms,linux-headers-$arch,libc6-dev
base=$cache/deb-base-$suite-$arch-$(sha256sum <<<"$include" | cut -c 1-12).tar
(
	flock 9
	[ -e "$base" ] && exit
	mmdebstrap --quiet --variant=minbase --include="$include" "$suite" "$base.tmp.tar" >"$tmp/base.log" 2>&1 &&
		mv "$base.tmp.tar" "$base"
) 9>"$cache/.lock-deb" || skip "no clean system can be made here: $(tail -n 1 "$tmp/base.log")"
mkdir "$tmp/root"
tar -C "$tmp/root" -xf "$base" || fail "the clean system can't be unpacked"
mkdir "$tmp/root/debs"
cp "$tmp"/out/*.deb "$tmp/root/debs"
rm "$tmp"/root/debs/*-dbgsym_*

# enter COMMAND...: this process goes into the clean system, with processes and devices of its own, which end with it.
# No network. What this machine has in /usr is in /host. Then inside COMMAND...: comes back.
# shellcheck disable=SC2016 # $@ and $0 are for the shell that is started
enter() {
	exec unshare --mount --pid --net --fork --kill-child --mount-proc sh -c '
		mount --bind "$0" "$0" && mount -t proc proc "$0/proc" && mount -t tmpfs shm "$0/dev/shm" 2>/dev/null
		[ ! -d "$0/host" ] || mount --bind -o ro /usr "$0/host"
		exec chroot "$0" /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C \
			DEBIAN_FRONTEND=noninteractive "$@"' "$tmp/root" "$@"
}
inside() {
	(enter "$@")
}

# What there is of files, but for the accounts of dpkg and the logs of DKMS.
files() {
	(cd "$tmp/root" && find . -xdev -path ./debs -prune -o -path ./proc -prune -o -path ./var/lib/dpkg -prune -o \
		-path ./var/cache -prune -o -path ./var/log -prune -o -path ./etc/ld.so.cache -prune -o -print | sort)
}

mkdir -p "$tmp/root/dev/shm"
kernel=$(basename "$(echo "$tmp"/root/usr/src/linux-headers-*-"$arch")")
kernel=${kernel#linux-headers-}
# The index of modules is the kernel's, and made anew whenever one comes or goes.
inside depmod "$kernel" >"$tmp/depmod.log" 2>&1 || fail "no index of modules"
files >"$tmp/before"
inside sh -c 'dpkg -i /debs/*.deb' >"$tmp/install.log" 2>&1 || fail "they can't be installed"

# Used: a device of one's own, a disk, its counters, a trace. Programs are built as the manual says.
cat >"$tmp/root/debs/use.sh" <<'USE'
set -eu
cd /debs
for p in vhx-argo-cat vhx-backend vhx-frontend vhx-ivshmem vhxctl; do
	$p --version
	[ -s /usr/share/man/man1/$p.1.gz ]
	[ -s /usr/share/bash-completion/completions/$p ]
done
for e in blk-read ram-disk; do
	gcc -Wall -Werror /usr/share/doc/libvhx-dev/examples/$e.c -lvhx -o $e
done
gcc -Wall -Werror /usr/share/doc/libvhx-dev/examples/argo-echo.c -lvhx-argo -o argo-echo
truncate -s 1M disk.img
vhx-backend --listen unix:/debs/be.sock --control /debs/be.ctl --device blk,file=disk.img &
./ram-disk unix:/debs/ram.sock &
./blk-read unix:/debs/be.sock 0
./blk-read unix:/debs/ram.sock 0
vhxctl stats /debs/be.ctl --json | grep -q '"completed":1'
vhxctl trace /debs/be.ctl -w trace.pcapng --seconds 1
[ -s trace.pcapng ]
kill %1 %2
wait %1
wait %2
USE
inside timeout 120 bash /debs/use.sh >"$tmp/use.log" 2>&1 || fail "they can't be used"
echo "installed and used"

# README, word for word. No service manager runs in there: a unit's own line is started, as its user and groups, in the
# folders that it names.
cat >"$tmp/root/debs/systemctl" <<'UNIT'
#!/bin/bash
set -eu
[ "$1" = start ]
shift
for unit in "$@"; do
	file=/lib/systemd/system/${unit%%@*}@.service name=${unit#*@}
	value() { sed -n "s/^$1=//p" "$file" | sed "s/%i/$name/g"; }
	install -d -m "$(value RuntimeDirectoryMode)" -o "$(value User)" -g "$(value Group)" "/run/$(value RuntimeDirectory)"
	# shellcheck disable=SC2046 # words on purpose
	setpriv --reuid="$(value User)" --regid="$(value Group)" --groups="$(value SupplementaryGroups)" \
		--inh-caps=-all $(value ExecStart) &
	echo $! >>/debs/pids
	for _ in {1..1200}; do
		[ -S "/run/$(value RuntimeDirectory)/control" ] && continue 2
		sleep 0.05
	done
	exit 1
done
UNIT
chmod 755 "$tmp/root/debs/systemctl"
# block NAME: the lines of README between the comments of that name.
block() {
	sed -n "/^<!-- $1 -->/,/^<!-- end -->/s/^    //p" "$vhx_root/README.md"
}
# QEMU is a package of the distribution and none of ours: this machine's serves, which is of the same release. It sees
# its own files, and else what is in there.
mkdir "$tmp/root/host"
cat >"$tmp/root/debs/qemu-system-x86_64" <<'QEMU'
#!/bin/sh
lib=/host/lib/$(gcc -dumpmachine)
export QEMU_MODULE_DIR="$lib/qemu"
echo $$ >/debs/vm.pid
exec "$lib"/ld-linux*.so.? --library-path "$lib:$lib/pulseaudio" /host/bin/qemu-system-x86_64 -L /host/share/qemu \
	-L /host/share/seabios -L /host/lib/ipxe/qemu "$@"
QEMU
chmod 755 "$tmp/root/debs/qemu-system-x86_64"
# The lab's guest: a kernel of Debian's, and a script that makes files on the disk and waits for a word meanwhile.
mkdir "$tmp/add"
cp "$vhx_lab/guest/tree.sh" "$tmp/add/"
echo 'mke2fs /dev/vda >/tmp/mke2fs && TREE_HOLD=1 . /tree.sh' >"$tmp/add/run.sh"
(cd "$tmp/add" && find . -mindepth 1 | cpio -o -H newc -R 0:0 --quiet) >"$tmp/add.cpio"
cat "$guest/initramfs.cpio" "$tmp/add.cpio" >"$tmp/root/debs/initrd"
cp -L "$guest/vmlinuz" "$tmp/root/debs/"
mkfifo "$tmp/root/debs/console"
{
	# shellcheck disable=SC2016 # for the shell in there
	echo 'set -eu
PATH=/debs:$PATH KERNEL=/debs/vmlinuz INITRD=/debs/initrd'
	block set-up
	# The frontend has the backend's disk, and everybody runs as who they should.
	cat <<'CHECK'
for _ in {1..1200}; do
	vhxctl stats /run/vhx-frontend/vm1/control --json | grep -q '"id":"disk0"' && break
	sleep 0.05
done
vhxctl stats /run/vhx-backend/vm1/control --json | grep -q '"state":"attached"' && echo ATTACHED
while read -r pid; do
	sed -n 's/^Uid:\t\([0-9]*\).*/UID \1/p; s/^CapEff:\t/CAPS /p; s/^Seccomp:\t/SECCOMP /p' "/proc/$pid/status"
done </debs/pids
exec <>/debs/console
CHECK
	block guest
	cat <<'CHECK'
while read -r pid; do
	kill "$pid"
done </debs/pids
wait
echo ALL-ENDED
CHECK
} >"$tmp/root/debs/readme.sh"
ln -s guest-run.log "$tmp/guest.log"
start guest-run enter timeout "$vhx_guest_patience" bash /debs/readme.sh
wait_guest '^HOLD'
{ read -r backend && read -r frontend; } <"$tmp/root/debs/pids"
read -r init _ <"/proc/${daemon_pid[guest-run]}/task/${daemon_pid[guest-run]}/children"
nsenter --target "$init" --mount --pid python3 "$vhx_lab/isolation.py" "$(cat "$tmp/root/debs/vm.pid")" "$frontend" \
	"$backend" || fail "isolation"
echo go >"$tmp/root/debs/console"
finish guest-run || fail "README's words do not lead to a guest on a disk"
guest_said '^ALL-ENDED' || fail "README's words do not come to their end"
guest_said '^GUEST-EXIT 0' || fail "README's words lead to a guest that fails"
assert_eq "attached disks" "$(grep -c '^ATTACHED$' "$tmp/guest.log")" 1
assert_eq "confined programs" "$(grep -c '^SECCOMP 2$' "$tmp/guest.log")" 2
assert_eq "without capabilities" "$(grep -c '^CAPS 0*$' "$tmp/guest.log")" 2
assert_eq "users" "$(sed -n 's/^UID //p' "$tmp/guest.log" | grep -v '^0$' | sort -u | wc -l)" 2
check_image "$tmp/root/var/lib/virtio-hmx/vm1.img" "$tmp/guest.log"
rm -rf "$tmp"/root/etc/virtio-hmx/vm1.* "$tmp"/root/var/lib/virtio-hmx "$tmp"/root/run/vhx-*
rmdir "$tmp/root/host"
echo "README leads to a guest on a confined backend"

inside sh -c "[ -e /var/lib/dkms/hmx/*/$kernel ] || dkms install \$(dkms status hmx | sed 's/[,:].*//') -k $kernel" \
	>"$tmp/dkms.log" 2>&1 || fail "DKMS can't build the driver for $kernel"
for module in virtio_hmx hmx_window hmx_ivshmem; do
	find "$tmp/root/lib/modules/$kernel/updates/dkms/" -name "$module.ko*" | grep -q . || fail "no $module for $kernel"
done
echo "driver built for $kernel"

inside dpkg -P "${packages[@]}" >"$tmp/purge.log" 2>&1 || fail "they can't be purged"
files >"$tmp/after"
diff "$tmp/before" "$tmp/after" >"$tmp/left" || fail "left behind: $(cat "$tmp/left")"
echo "purged"

#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# The Debian packages as an operator meets them: built from this tree, without a word from lintian, installed in a
# clean system, used there, the guest driver built by DKMS for that system's kernel, and purged without a trace. Then
# the system runs, with its systemd, and what README tells a new user to type is typed there, up to a guest of QEMU that
# writes to its disk and reads it back; and the services do what an operator expects of them.
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
need_qemu 6.1
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

# inside COMMAND...: in the clean system, with processes and devices of its own, which end with it. No network.
# shellcheck disable=SC2016 # $@ and $0 are for the shell that is started
inside() {
	unshare --mount --pid --net --fork --kill-child --mount-proc sh -c '
		mount --bind "$0" "$0" && mount -t proc proc "$0/proc" && mount -t tmpfs shm "$0/dev/shm" 2>/dev/null
		exec chroot "$0" /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C \
			DEBIAN_FRONTEND=noninteractive "$@"' "$tmp/root" "$@"
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

inside sh -c "[ -e /var/lib/dkms/hmx/*/$kernel ] || dkms install \$(dkms status hmx | sed 's/[,:].*//') -k $kernel" \
	>"$tmp/dkms.log" 2>&1 || fail "DKMS can't build the driver for $kernel"
modules=(virtio_hmx hmx_window hmx_ivshmem)
# Kernels that can be a domain of Xen, as Debian's on amd64.
config=$tmp/root/usr/src/linux-headers-$kernel/.config
[ -e "$config" ] || fail "the headers of $kernel have no configuration"
! grep -q '^CONFIG_XEN=y' "$config" || modules+=(hmx_argo)
for module in "${modules[@]}"; do
	find "$tmp/root/lib/modules/$kernel/updates/dkms/" -name "$module.ko*" | grep -q . || fail "no $module for $kernel"
done
echo "driver built for $kernel: ${modules[*]}"

inside dpkg -P "${packages[@]}" >"$tmp/purge.log" 2>&1 || fail "they can't be purged"
files >"$tmp/after"
diff "$tmp/before" "$tmp/after" >"$tmp/left" || fail "left behind: $(cat "$tmp/left")"
echo "purged"

# The system runs. running COMMAND...: there, as root.
inside sh -c 'dpkg -i /debs/virtio-hmx_*.deb /debs/libvhx0_*.deb' >"$tmp/again.log" 2>&1 || fail "they can't be installed again"
start system "$vhx_lab/system.sh" "$tmp/root" "$tmp/init"
until [ -s "$tmp/init" ]; do
	if ! alive system; then
		finish system
		[ $? -eq 77 ] || fail "the system does not run"
		skip "all but the services is tested: $(tail -n 1 "$tmp/system.log")"
	fi
	sleep 0.05
done
running() {
	nsenter --target "$(cat "$tmp/init")" --all --root --wd /usr/bin/env -i \
		PATH=/debs:/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C "$@"
}
system_up() {
	case $(running systemctl is-system-running --wait) in running|degraded) ;; *) return 1 ;; esac
}
wait_for 'the system' "$vhx_patience" system_up
# trouble WORDS: fails, with what the system has to say.
trouble() {
	running journalctl --no-pager -n 60 >"$tmp/journal.log" 2>&1
	fail "$@"
}
# has UNIT PROPERTY VALUE
has() { [ "$(running systemctl show --property "$2" --value "$1")" = "$3" ]; }
# journal UNIT OPTION... PATTERN: has the unit said so?
journal() { running journalctl --no-pager --output cat --unit "$1" "${@:2:$#-2}" | grep -Eq -- "${!#}"; }
# block NAME: the lines of README between the comments of that name.
block() {
	sed -n "/^<!-- $1 -->/,/^<!-- end -->/s/^    //p" "$vhx_root/README.md"
}

# README, word for word. The watchdog alone gets less patience than an operator would have.
mkdir -p "$tmp/root/etc/systemd/system/vhx-backend@.service.d"
printf '[Service]\nWatchdogSec=3\n' >"$tmp/root/etc/systemd/system/vhx-backend@.service.d/lab.conf"
{
	echo 'set -eu'
	echo 'systemctl daemon-reload'
	block set-up
} >"$tmp/root/debs/set-up.sh"
running bash /debs/set-up.sh >"$tmp/set-up.log" 2>&1 || trouble "README's words do not start the services"
wait_for 'the disk' "$vhx_patience" has vhx-frontend@vm1 StatusText 'backend established, 0 of 1 devices in use'
backend=$(running systemctl show -P MainPID vhx-backend@vm1) frontend=$(running systemctl show -P MainPID vhx-frontend@vm1)
for pid in "$backend" "$frontend"; do
	running sed -n 's/^Uid:\t\([0-9]*\).*/UID \1/p; s/^CapEff:\t/CAPS /p; s/^Seccomp:\t/SECCOMP /p' "/proc/$pid/status"
done >"$tmp/status.log"
assert_eq "confined programs" "$(grep -c '^SECCOMP 2$' "$tmp/status.log")" 2
assert_eq "without capabilities" "$(grep -c '^CAPS 0*$' "$tmp/status.log")" 2
assert_eq "users" "$(sed -n 's/^UID //p' "$tmp/status.log" | grep -v '^0$' | sort -u | wc -l)" 2
echo "README starts the services"

# QEMU is a package of the distribution and none of ours: this machine's serves, which is of the same release. It sees
# its own files, and else what is in there.
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
	echo 'exec <>/debs/console'
	block guest
} >"$tmp/root/debs/guest.sh"
ln -s guest-run.log "$tmp/guest.log"
start guest-run running env KERNEL=/debs/vmlinuz INITRD=/debs/initrd bash /debs/guest.sh
wait_guest '^HOLD'
nsenter --target "$(cat "$tmp/init")" --pid unshare --mount-proc python3 "$vhx_lab/isolation.py" \
	"$(cat "$tmp/root/debs/vm.pid")" "$frontend" "$backend" || fail "isolation"

# While it lives: a backend that stands still is replaced.
assert_match "status" "$(running systemctl status vhx-backend@vm1)" 'Status: "1 of 1 devices in use, 1 frontends connected"'
running sh -c "kill -STOP $backend"
wait_for 'the watchdog' "$vhx_patience" journal vhx-backend@vm1 "Failed with result 'watchdog'"
wait_for 'the next backend' "$vhx_patience" has vhx-backend@vm1 StatusText '1 of 1 devices in use, 1 frontends connected'
echo go >"$tmp/root/debs/console"
finish guest-run || trouble "README's words do not lead to a guest on a disk"
guest_said '^GUEST-EXIT 0' || trouble "README's words lead to a guest that fails"
check_image "$tmp/root/var/lib/virtio-hmx/vm1.img" "$tmp/guest.log"
echo "README leads to a guest on a confined backend"

# A changed file, one that is wrong, and the priorities of what is said of them.
echo 'log-level = debug' >>"$tmp/root/etc/virtio-hmx/vm1.backend"
running systemctl reload vhx-backend@vm1 || trouble "no reload"
wait_for 'the reload' "$vhx_patience" journal vhx-backend@vm1 --priority info '^reloaded: 1 options changed'
echo 'ring-size = 64K' >>"$tmp/root/etc/virtio-hmx/vm1.backend"
! running systemctl reload vhx-backend@vm1 2>/dev/null || fail "a reload of what can't change succeeds"
wait_for 'the refusal' "$vhx_patience" journal vhx-backend@vm1 --priority warning '^not reloaded: ring-size cannot change'
! journal vhx-backend@vm1 --priority warning '^(ready|reloaded)' || fail "good news have the priority of warnings"
has vhx-backend@vm1 ActiveState active || fail "a reload that was refused ends the service"

# The socket is there before its backend, and brings it.
running systemctl stop vhx-backend@vm1
has vhx-backend@vm1 Result success || trouble "the backend does not end well"
running systemctl start vhx-backend@vm1.socket || trouble "no socket"
wait_for 'activation' "$vhx_patience" has vhx-backend@vm1 StatusText '1 of 1 devices in use, 1 frontends connected'
# The window's service, whose options are its own.
echo 'connect = unix:/run/vhx-backend/vm1/frontend.sock
qemu = /run/vhx-ivshmem/vm1/window.sock,size=4M,mode=0660,group=vhx,allow-uid=root' >"$tmp/root/etc/virtio-hmx/vm1.ivshmem"
running systemctl start vhx-ivshmem@vm1 || trouble "vhx-ivshmem does not start"
running systemctl stop vhx-backend@vm1.socket vhx-{backend,frontend,ivshmem}@vm1
for program in backend frontend ivshmem; do
	has vhx-$program@vm1 Result success || trouble "vhx-$program does not end well"
done
stop system
echo "services: status, watchdog, reload, priorities, activation"

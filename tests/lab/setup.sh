#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# setup.sh [GROUP...]: the packages that building and testing need, by name and with the reason, in
# one place. As root it installs what is missing and says so; anyone else gets the list.
#   groups: build test guest kernel load net qemu xen bench deb sanitize style (default: all)
#   --list prints the table, --missing prints the missing names only and installs nothing.
# Exit status: 0 nothing is missing (any more), 1 something is, 2 usage.
set -u

# package | a file that shows it is there | group | reason
packages() {
	cat <<-'TABLE'
	gcc | /usr/bin/gcc | build | the compiler
	libc6-dev | /usr/include/stdio.h | build | C library headers
	linux-libc-dev | /usr/include/linux/virtio_blk.h | build | kernel headers for user space
	meson | /usr/bin/meson | build | the build system
	ninja-build | /usr/bin/ninja | build | runs the build
	pkg-config | /usr/bin/pkg-config | build | finds the libraries
	liburing-dev | /usr/include/liburing.h | build | storage I/O through io_uring
	libjson-c-dev | /usr/include/json-c/json.h | build | counters and the control socket
	libseccomp-dev | /usr/include/seccomp.h | build | the programs give up system calls that they do not need
	libcap-ng-dev | /usr/include/cap-ng.h | build | and all capabilities
	libmicrohttpd-dev | /usr/include/microhttpd.h | build | counters over HTTP, for Prometheus
	libsystemd-dev | /usr/include/systemd/sd-daemon.h | build | the programs tell a service manager how they are
	libcmocka-dev | /usr/include/cmocka.h | test | the unit test runner
	tmux | /usr/bin/tmux | test | the terminal that vhxctl top is tested in
	systemd | /usr/bin/systemd-analyze | test | checks and rates the units
	tshark | /usr/bin/tshark | test | reads traces with the dissector of this tree
	python3-prometheus-client | /usr/share/doc/python3-prometheus-client | test | parses the counters as Prometheus does
	python3 | /usr/bin/python3 | build | meson; style tests, test results
	e2fsprogs | /sbin/mkfs.ext4 | guest | makes, checks and reads the disk images
	busybox-static | /bin/busybox | guest | user space of the lab guests
	cpio | /usr/bin/cpio | guest | packs their initramfs
	kmod | /sbin/depmod | guest | module order of the lab guests
	xz-utils | /usr/bin/xz | guest | unpacks packages and modules
	make | /usr/bin/make | kernel | builds kernel and modules
	flex | /usr/bin/flex | kernel | configures the lab's own kernel
	bison | /usr/bin/bison | kernel | configures the lab's own kernel
	bc | /usr/bin/bc | kernel | computes its time constants
	pahole | /usr/bin/pahole | kernel | types of modules for Debian's 6.12
	gcc-aarch64-linux-gnu | /usr/bin/aarch64-linux-gnu-gcc | kernel | builds modules for arm64
	sparse | /usr/bin/sparse | kernel | byte order and address spaces of the driver
	coccinelle | /usr/bin/spatch | kernel | runs the kernel's semantic checks
	patch | /usr/bin/patch | kernel | applies umlk.patch to its source
	fio | /usr/bin/fio | load | verify load in the guests
	iproute2 | /sbin/ip | net | network namespaces and taps of the network tests
	iputils-ping | /bin/ping | net | floods a guest
	iperf3 | /usr/bin/iperf3 | net | network load, in guests and against them
	ethtool | /sbin/ethtool | net | switches offloads and queues in the guests
	sg3-utils | /usr/bin/sg_inq | load | SCSI commands in the guests
	socat | /usr/bin/socat | net | sockets of the guests by vsock
	passt | /usr/bin/passt | net | a guest's network without root
	openvswitch-switch-dpdk | /usr/lib/openvswitch-switch-dpdk/ovs-vswitchd-dpdk | net | a switch to bridge a guest to
	librte-mempool-ring23 | /usr/share/doc/librte-mempool-ring23 | net | memory of that switch
	qemu-system-x86 | /usr/bin/qemu-system-x86_64 | qemu | the stock Debian guest
	mmdebstrap | /usr/bin/mmdebstrap | qemu | a Debian system whose root disk is the backend's
	qemu-system-arm | /usr/bin/qemu-system-aarch64 | qemu | the stock Debian guest on arm64
	qemu-utils | /usr/bin/qemu-io | qemu | a second program that locks images
	libvirt-daemon | /usr/sbin/libvirtd | qemu | starts a guest as README says
	libvirt-daemon-driver-qemu | /usr/share/doc/libvirt-daemon-driver-qemu | qemu | the same
	libvirt-clients | /usr/bin/virsh | qemu | the same
	qemu-system-common | /usr/lib/qemu/virtiofsd | guest | vhost-user back-ends to bridge
	qemu-system-x86 | /usr/bin/qemu-system-x86_64 | xen | the machine that the lab's Xen runs on
	dpkg-dev | /usr/bin/dpkg-source | xen | unpacks the source of Xen
	flex | /usr/bin/flex | xen | configures Xen
	bison | /usr/bin/bison | xen | the same
	m4 | /usr/bin/m4 | xen | expands its Flask policy
	checkpolicy | /usr/bin/checkpolicy | xen | compiles it
	qemu-system-common | /usr/bin/qemu-storage-daemon | bench | the shared-memory backend to compare with
	libnbd-dev | /usr/include/libnbd.h | bench | the NBD client to compare with
	nbdkit | /usr/sbin/nbdkit | bench | the NBD server to compare with
	dpkg-dev | /usr/bin/dpkg-buildpackage | deb | builds the Debian packages
	debhelper | /usr/bin/dh | deb | the same
	dh-dkms | /usr/bin/dh_dkms | deb | the guest driver's package
	lintian | /usr/bin/lintian | deb | checks the packages
	mmdebstrap | /usr/bin/mmdebstrap | deb | the clean system that they are installed in
	qemu-system-x86 | /usr/bin/qemu-system-x86_64 | deb | the guest that README leads to
	clang | /usr/bin/clang | sanitize | the second compiler, and libFuzzer
	libclang-rt-14-dev | /usr/lib/llvm-14/lib/clang | sanitize | its sanitizer run time
	clang-format | /usr/bin/clang-format | style | the format test
	clang-tidy | /usr/bin/clang-tidy | style | static checks
	shellcheck | /usr/bin/shellcheck | style | static checks of the scripts
	TABLE
}

trim() { sed 's/^[[:space:]]*//; s/[[:space:]]*$//'; }

want=() list=no only_missing=no
for a in "$@"; do
	case $a in
	--list) list=yes ;;
	--missing) only_missing=yes ;;
	build|test|guest|kernel|qemu|xen|load|net|bench|deb|sanitize|style) want+=("$a") ;;
	*) echo "setup.sh: unknown argument '$a'" >&2; exit 2 ;;
	esac
done

# The dpkg database decides where there is one; the file stands in for it elsewhere.
is_there() {
	if command -v dpkg-query >/dev/null; then
		[ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ] && return 0
	fi
	[ -e "$2" ]
}

missing=() reasons=()
while IFS='|' read -r pkg file group reason; do
	pkg=$(trim <<<"$pkg") file=$(trim <<<"$file") group=$(trim <<<"$group")
	reason=$(trim <<<"$reason")
	case " ${want[*]-} " in
	'  ') ;;
	*" $group "*) ;;
	*) continue ;;
	esac
	if [ $list = yes ]; then
		printf '%-20s %-9s %s\n' "$pkg" "$group" "$reason"
	elif ! is_there "$pkg" "$file"; then
		missing+=("$pkg") reasons+=("$reason")
	fi
done < <(packages)

[ $list = yes ] && exit 0
[ ${#missing[@]} -eq 0 ] && exit 0
if [ $only_missing = yes ]; then
	echo "${missing[*]}"
	exit 1
fi

if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
	echo "setup: missing packages (not root, so nothing is installed):"
	for i in "${!missing[@]}"; do
		printf '  %-20s %s\n' "${missing[$i]}" "${reasons[$i]}"
	done
	echo "  as root: apt-get install --no-install-recommends ${missing[*]}"
	exit 1
fi

echo "setup: installing with apt:"
for i in "${!missing[@]}"; do
	printf '  %-20s %s\n' "${missing[$i]}" "${reasons[$i]}"
done

log=$(mktemp)
trap 'rm -f "$log"' EXIT
export DEBIAN_FRONTEND=noninteractive
install_missing() {
	apt-get install -y -q --no-install-recommends -o Dpkg::Use-Pty=0 \
		-o DPkg::Lock::Timeout=120 "${missing[@]}" >"$log" 2>&1
}

# The lists of a fresh machine are empty or stale; only then is an update worth its time.
if ! install_missing; then
	echo "setup: apt-get update"
	apt-get update -q >"$log" 2>&1 || { tail -n 5 "$log"; echo "setup: apt-get update failed"; }
	if ! install_missing; then
		tail -n 20 "$log"
		echo "setup: could not install: ${missing[*]}"
		exit 1
	fi
fi
echo "setup: installed ${#missing[@]} packages"

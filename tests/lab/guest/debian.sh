#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# In the Debian system of rootfs.sh, at the end of its boot: is / what it has to be, and does it keep what is
# written? Prints the checksums of a tree of files for the host to compare, and a verdict for the runner.
set -u

tree() {
	set -e
	[ "$(findmnt -n -o SOURCE /)" = /dev/vda ] || { echo "guest: / is not /dev/vda"; return 1; }
	[ "$(ps -o comm= -p 1 2>/dev/null || cat /proc/1/comm)" = systemd ]
	echo "DEBIAN $(cat /etc/debian_version) on $(uname -r), / is $(findmnt -n -o SOURCE,FSTYPE /)"
	rm -rf /tree
	mkdir -p /tree/many
	for i in $(seq 110); do
		echo "small file $i of /" >"/tree/many/$i"
	done
	for size in 0 1 511 4096 4097 65535 131073 1048579 8388608; do
		head -c $size /dev/urandom >"/tree/file-$size"
	done
	sync
	cd /tree
	find . -type f | LC_ALL=C sort | xargs sha256sum >/run/sums
	echo 3 >/proc/sys/vm/drop_caches
	sha256sum --quiet -c /run/sums
	cd /
	sed 's/^/SUM /' /run/sums
	echo "TREE $(wc -l </run/sums) files"
	if grep -q vhx_hold /proc/cmdline; then
		echo HOLD
		read -r word
		echo "guest: $word"
	fi
}

clean() {
	# Phrases of the kernel's own checks; quiet otherwise.
	! dmesg | grep -E 'WARNING:|BUG:|Oops|Call Trace|cut here|blocked for more than'
}

(tree) && clean
echo "GUEST-EXIT $?"
systemctl poweroff

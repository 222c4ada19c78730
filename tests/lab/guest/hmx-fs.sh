# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=dash
# Guest: sourced behind hmx.sh. A folder, /tmp/share, that virtiofsd behind the backend shares under the tag "shared".

daemon=''

# fs_serve: the daemon ends with its backend, so each backend needs another.
fs_serve() {
	[ -z "$daemon" ] || wait_for "the end of the last daemon" gone "$daemon"
	rm -f /tmp/fs.sock
	virtiofsd --socket-path=/tmp/fs.sock -o source=/tmp/share -o sandbox=chroot -f >>/tmp/fs.log 2>&1 &
	daemon=$!
	wait_for "the folder's daemon" [ -S /tmp/fs.sock ]
}

fs_begin() {
	# It wants room for more open files than a kernel grants that has little memory.
	echo 1000000 >/proc/sys/fs/file-max
	mkdir -p /tmp/share/src/deep
	cp -r /driver /bin /tmp/share/src/
	head -c 5000001 /dev/urandom >/tmp/share/src/deep/random
	ln -s deep/random /tmp/share/src/link
	(cd /tmp/share/src && find . -type f -exec sha256sum {} +) >/tmp/fs.sums
	fs_serve
}

# fs_share NAME: a copy of the tree by that name, made and read through the driver, is the tree on both sides.
fs_share() {
	wait_for "a running folder" state_is f0 running
	mkdir -p /mnt
	mount -t virtiofs shared /mnt || fail "the folder does not mount"
	cp -a /mnt/src "/mnt/$1" || fail "cp within the folder"
	sync
	echo 3 >/proc/sys/vm/drop_caches
	(cd "/mnt/$1" && sha256sum -c -s /tmp/fs.sums) || fail "the folder's copy differs"
	(cd "/tmp/share/$1" && sha256sum -c -s /tmp/fs.sums) || fail "the copy differs behind the daemon"
	[ "$(readlink "/mnt/$1/link")" = deep/random ] || fail "a link is none"
	rm -r "/mnt/$1/driver" || fail "rm within the folder"
	absent "/tmp/share/$1/driver" || fail "what was removed is there"
	umount /mnt || fail "umount of the folder"
}

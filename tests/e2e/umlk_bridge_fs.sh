#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# A folder shared with a guest by virtiofsd behind the exchange: the guest copies a source tree within it, writes large
# files and reads them past its cache, renames, links and removes. What the host finds then is what the guest says, the
# copy is the tree, and it builds. The daemon has nothing of the guest's memory.
# shellcheck source=bridge.sh
. "$(dirname "$0")/bridge.sh"
need_programs
need_umlk
need_file /usr/lib/qemu/virtiofsd qemu-system-common
need cc gcc
[ "$(id -u)" -eq 0 ] || skip "virtiofsd makes namespaces: root is needed"

share=$tmp/share
mkdir -p "$share/src"
for layer in util wire ring core link frontend backend; do
	cp -r "$vhx_root/src/$layer" "$share/src"
done
cp -r "$vhx_root/include" "$share"
head -c 5000001 /dev/urandom >"$share/random"

cat >"$tmp/run.sh" <<'GUEST'
set -eu
mount -t virtiofs shared /mnt
cd /mnt
mkdir copy
cp -r src include copy
cmp random /mnt/random
for bs in 1 4096 131072 1048576; do
	head -c $((bs * 3 + 1)) random >part-$bs 2>/dev/null || true
done
dd if=random of=large bs=1M conv=fsync 2>/dev/null
dd if=random of=large bs=1M seek=7 conv=notrunc,fsync 2>/dev/null
echo 3 >/proc/sys/vm/drop_caches
dd if=large bs=1M skip=7 2>/dev/null | cmp - random
mkdir -p many/deep
i=0
while [ $i -lt 120 ]; do
	echo "file $i" >many/$i
	i=$((i + 1))
done
mv many/7 many/deep/seven
ln -s deep/seven many/link
ln many/8 many/eight
rm many/9
[ "$(cat many/link)" = 'file 7' ]
[ "$(ls many | wc -l)" = 121 ]
! cat absent 2>/dev/null
! mkdir many 2>/dev/null
stat -f /mnt >/dev/null
find . -type f ! -name sums | LC_ALL=C sort | while read -r f; do sha256sum "$f"; done >sums
echo HOLD
read -r word
cd /
umount /mnt
mount -t virtiofs shared /mnt
cd /mnt
sha256sum -c -s sums
cd /
umount /mnt
echo FS-DONE
GUEST

start fsd /usr/lib/qemu/virtiofsd --socket-path="$tmp/fs.sock" -o "source=$share" -o sandbox=chroot -f
wait_listening fsd "$tmp/fs.sock"
start_backend --device "vhost-user,type=fs,id=share,socket=$tmp/fs.sock,tag=shared"
start_frontend --vhost-user "$tmp/vm.sock,id=share"
boot umlk --device "fs:$tmp/vm.sock" --script "$tmp/run.sh"
wait_guest '^HOLD'
isolation "$(cat "$tmp/guest.pid")" "${daemon_pid[frontend]}" "${daemon_pid[fsd]}"
say go
guest_ok
guest_said '^FS-DONE' || fail "the guest did not come to its end"
(cd "$share" && sha256sum -c --quiet sums) || fail "the host finds other files than the guest"
diff -r "$share/src" "$share/copy/src" || fail "the copy is not the tree"
[ "$(stat -c %h "$share/many/eight")" = 2 ] || fail "a link is none"
(cd "$share/copy" && cc -std=gnu17 -D_GNU_SOURCE -Isrc -Iinclude -Iinclude/uapi -fsyntax-only src/ring/*.c src/wire/*.c) ||
	fail "the copy does not build"
echo "$(wc -l <"$share/sums") files, $(stats "$tmp/fe.ctl" "s['devices'][0]['completed']") requests"
stop frontend
stop backend

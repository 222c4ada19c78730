#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# device.sh BACKEND LOAD VHXCTL: disks that come and go at a backend that runs, confined: used, refused for
# every reason there is, removed while they are used.
set -u
backend=$1 load=$2 vhxctl=$3
# shellcheck source=programs.sh
. "$(dirname "$0")/programs.sh"

fail() {
	echo "$1"
	cat "$tmp/log"
	exit 1
}

# refused TEXT WORDS: vhxctl device WORDS fails and says TEXT.
refused() {
	local text=$1 said
	shift
	said=$("$vhxctl" device "$@" 2>&1) && fail "device $*: was done"
	[[ $said == *"$text"* ]] || fail "device $*: '$said', not '$text'"
}

devices() {
	"$vhxctl" stats "$tmp/ctl" | grep -o '"id":"[^"]*"' | cut -d'"' -f4 | tr '\n' ' '
}

devices_are() {
	[ "$(devices)" = "$1" ]
}

verify() {
	"$load" --engine vhx --target "unix:$tmp/s" --device "$1" --block-size 16K --depth 8 --area 4M --verify
}

load_runs() {
	"$vhxctl" stats "$tmp/ctl" | grep -q '"id":"b".*"requests":[1-9]'
}

truncate -s 16M "$tmp/a.img" "$tmp/b.img" "$tmp/c.img"
touch "$tmp/empty.img"
mkfifo "$tmp/fifo"
# A backend may begin without any device, if its operator can add some.
"$backend" --listen "unix:$tmp/s" --control "$tmp/ctl" 2>"$tmp/log" &
pids+=($!)
until_true test -S "$tmp/ctl"
[ "$(devices)" = "" ] || fail "a device from nowhere: $(devices)"

"$vhxctl" device add "$tmp/ctl" "blk,id=a,file=$tmp/a.img" || fail "no first disk"
# By a descriptor of the caller's, which need not have a name.
"$vhxctl" device add "$tmp/ctl" blk,id=b,fd=9 9<>"$tmp/b.img" || fail "no second disk"
"$vhxctl" device add "$tmp/ctl" rng || fail "no rng"
[ "$(devices)" = "a b rng " ] || fail "devices: $(devices)"
verify a >/dev/null || fail "the first disk does not keep what is written"

refused "there is a device of this id" add "$tmp/ctl" "blk,id=b,file=$tmp/c.img"
refused "locked by" add "$tmp/ctl" "blk,id=c,file=$tmp/a.img"
refused "empty" add "$tmp/ctl" "blk,id=c,file=$tmp/empty.img"
refused "neither a regular file nor a block device" add "$tmp/ctl" "blk,id=c,file=$tmp/fifo"
refused "neither a regular file nor a block device" add "$tmp/ctl" "blk,id=c,fd=0" </dev/null
refused "not open for writing" add "$tmp/ctl" "blk,id=c,fd=0" <"$tmp/empty.img"
# Instrumented programs are not confined.
if ! grep -q 'sandbox: off' "$tmp/log"; then
	refused "Operation not permitted" add "$tmp/ctl" "console,id=c,port0=file:$tmp/out"
	[ ! -e "$tmp/out" ] || fail "a confined program made a file"
fi
refused "there is no device 'c'" remove "$tmp/ctl" c
[ "$(devices)" = "a b rng " ] || fail "devices after what was refused: $(devices)"
# What vhxctl never says: a disk without its descriptor must not be looked for among the program's own.
answer=$(printf '{"command":"device-add","spec":"blk,id=c,fd=0"}\n' |
	python3 -c 'import socket, sys
s = socket.socket(socket.AF_UNIX)
s.connect(sys.argv[1])
s.sendall(sys.stdin.buffer.read())
print(s.makefile().read())' "$tmp/ctl")
[[ $answer == *"has to come as a descriptor"* ]] || fail "without a descriptor: $answer"

# Under load: the device goes, its user is told, its image is free for others, its id as well.
"$load" --engine vhx --target "unix:$tmp/s" --device b --access write --depth 32 --run-ms 60000 >/dev/null 2>&1 &
user=$!
pids+=("$user")
until_true load_runs
"$vhxctl" device remove "$tmp/ctl" b || fail "not removed"
wait "$user" && fail "the user of a removed disk ended well"
until_true devices_are "a rng "
until_true "$vhxctl" device add "$tmp/ctl" "blk,id=b,file=$tmp/b.img"
verify b >/dev/null || fail "the disk that came back does not keep what is written"
verify a >/dev/null || fail "the first disk was hurt by the second"

# All numbers of devices are used, and given again.
for n in $(seq 70); do
	"$vhxctl" device remove "$tmp/ctl" rng || fail "rng $n does not go"
	until_true "$vhxctl" device add "$tmp/ctl" rng
done
for n in $(seq 61); do
	"$vhxctl" device add "$tmp/ctl" "rng,id=r$n" || fail "rng $n does not come"
done
refused "No space left on device" add "$tmp/ctl" "rng,id=one-more"
kill -0 "${pids[0]}" || fail "the backend died"
echo "devices come and go"

#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# argo_bad.sh BACKEND FRONTEND VHXCTL ARGO-CAT: what cannot work is one line, names the cause, and ends the program at once.
set -u
export LC_ALL=C
backend=$1 frontend=$2 vhxctl=$3 cat=$4
tmp=$(mktemp -d)
trap 'kill "${pid:-}" 2>/dev/null; rm -rf "$tmp"' EXIT
if [ -e /dev/argo ]; then
	echo "SKIP: this machine has /dev/argo"
	exit 77
fi

# refused CAUSE COMMAND...
refused() {
	local cause=$1
	shift
	timeout 60 "$@" >"$tmp/out" 2>&1 && { echo "taken: $*"; exit 1; }
	[ "$(wc -l <"$tmp/out")" -eq 1 ] || { echo "not one line: $*"; cat "$tmp/out"; exit 1; }
	grep -q -- "$cause" "$tmp/out" || { echo "'$cause' is not the cause: $*"; cat "$tmp/out"; exit 1; }
}

for whom in '' :peer=1 :name:web :uuid:0f5a2c1e-7d3b-4c66-9e51-a0b1c2d3e4f5 :any; do
	refused '/dev/argo: No such file.*hmx_argo' "$backend" --listen "argo$whom" --device rng,id=r
done
refused '32751' "$backend" --listen argo:peer=40000 --device rng,id=r
refused 'is not argo, ' "$backend" --listen argo:web --device rng,id=r
refused 'no UUID' "$backend" --listen argo:uuid:web --device rng,id=r
refused '/dev/argo: No such file.*hmx_argo' "$frontend" --connect argo:peer=0 --vhost-user "$tmp/vm.sock"
refused 'peer=DOMID' "$frontend" --connect argo:any --vhost-user "$tmp/vm.sock"

refused '/dev/argo: No such file' "$cat" 0 7
refused '/dev/argo: No such file' "$cat" -l -u -p any 4294967295
refused 'DOMID and a PORT' "$cat" 7
refused 'a PORT to listen at' "$cat" -l 0 7
refused "DOMID: 'any' is not a number" "$cat" any 7
refused 'DOMID: must be at most 32755' "$cat" 32756 7
refused 'PORT: 0 is none' "$cat" 0 0
refused 'PORT: .*too large\|PORT: must be' "$cat" 0 4294967296
refused 'are for --listen' "$cat" -k 0 7
refused 'is for connecting' "$cat" -l -r 7
refused 'are for streams' "$cat" -u -w 3 0 7
refused 'for --datagrams' "$cat" -W 3 0 7
refused 'multiple of 16' "$cat" --ring-len 4100 0 7
"$cat" 0 7 2>/dev/null
[ $? -eq 1 ] || { echo "no Argo is a failure"; exit 1; }
"$cat" -k 0 7 2>/dev/null
[ $? -eq 2 ] || { echo "a senseless line is no usage error"; exit 1; }

"$backend" --listen "unix:$tmp/be.sock" --control "$tmp/ctl" --device rng,id=r 2>"$tmp/log" &
pid=$!
until grep -q ready "$tmp/log"; do
	kill -0 $pid || { cat "$tmp/log"; exit 1; }
	sleep 0.05
done
refused 'not started with --listen argo' "$vhxctl" peer add "$tmp/ctl" 3
refused 'not started with --listen argo' "$vhxctl" peer remove "$tmp/ctl" 3
refused 'is not a number' "$vhxctl" peer add "$tmp/ctl" web
refused 'number of the domain is missing' "$vhxctl" peer add "$tmp/ctl"

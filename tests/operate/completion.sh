#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# completion.sh FOLDER COMPLETION: what TAB offers is what the programs in FOLDER take.
set -u
export LC_ALL=C
folder=$1
# shellcheck source=/dev/null
source "$2"
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
cd "$tmp" || exit 1
touch disk.img

# tab LINE: what is offered at the end of LINE, as whole words would be after bash has put them in.
tab() {
	COMP_LINE=$1 COMP_POINT=${#1} COMPREPLY=()
	_vhx "$folder/${1%% *}"
	local word=${1##* }
	local cut=${word%"${word##*[:=]}"}
	local r
	for r in ${COMPREPLY[@]+"${COMPREPLY[@]}"}; do
		echo "$cut$r"
	done | sort | tr '\n' ' '
}

# offers LINE WORDS
offers() {
	local got
	got=$(tab "$1")
	[ "$got" = "$2 " ] || { echo "'$1' offers '$got', not '$2'"; exit 1; }
}

for program in vhx-argo-cat vhx-backend vhx-frontend vhx-ivshmem vhxctl; do
	"$folder/$program" --help >help || exit 1
	offers "$program --" "$(grep -o '^  --[a-z-]*' help | sort | tr -d ' ' | tr '\n' ' ' | sed 's/ $//')"
	complete -p "$program" >/dev/null || exit 1
done
offers 'vhx-backend --li' --listen
offers 'vhx-argo-cat --li' --listen
offers 'vhx-argo-cat --listen --peer ' any
offers 'vhx-backend --device b' blk,
offers 'vhx-backend --device rng,m' rng,max-bytes=
offers 'vhx-backend --device vh' vhost-user,
offers 'vhx-backend --device vhost-user,ty' vhost-user,type=
offers 'vhx-backend --device blk,id=x,re' blk,id=x,readonly
offers 'vhx-backend --device blk,file=d' blk,file=disk.img
offers 'vhx-frontend --spawn blk,num' blk,num-queues=
offers 'vhx-backend --listen u' unix:
offers 'vhx-backend --listen unix:d' unix:disk.img
offers 'vhx-backend --control d' disk.img
offers 'vhxctl ' 'device peer reload stats top trace'
offers 'vhxctl device ' 'add remove'
offers 'vhxctl device add d' disk.img
offers 'vhxctl device add disk.img b' blk,
offers 'vhxctl device add disk.img blk,file=d' blk,file=disk.img
offers 'vhxctl device remove d' disk.img
offers 'vhxctl peer ' 'add remove'
offers 'vhxctl peer add d' disk.img
offers 'vhx-backend --listen argo:p' argo:peer=
offers 'vhx-backend --config d' disk.img
offers 'vhxctl trace d' disk.img
offers 'vhxctl reload disk.img d' disk.img
offers 'vhxctl trace disk.img -w d' disk.img
# Choices that are offered are taken: each of them gets further than the command line.
for pair in log-level: sandbox:; do
	option=--${pair%:}
	for value in $(tab "vhx-backend $option "); do
		"$folder/vhx-backend" "$option" "$value" --help >/dev/null || exit 1
	done
	"$folder/vhx-backend" "$option" nonsense --help 2>/dev/null && exit 1
done
# All keys of all types: a spec with an unknown key is refused, one of these is not for that.
"$folder/vhx-backend" --help | sed -n '/^Devices/,$s/^  \([a-z-]*\):.*/\1/p' >types
[ -s types ] || exit 1
while read -r type; do
	for spec in $(tab "vhx-backend --device $type,"); do
		case $spec in *=) spec+=1 ;; esac
		"$folder/vhx-backend" --listen unix:/nonexistent/s --device "$spec" 2>err
		grep -qi 'unknown' err && { cat err; exit 1; }
	done
done <types
echo "$(wc -l <types) device types"

#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# units.sh UNITS PROGRAMS DOCS: the units of systemd in the folder UNITS are sound, and let their programs reach little:
# an exposure below 2.0 by the measure of systemd-analyze. Programs are in the folder PROGRAMS.
set -u
export LC_ALL=C
command -v systemd-analyze >/dev/null || { echo "SKIP: package systemd is missing (systemd-analyze)"; exit 77; }
programs=$2
docs=$(cd "$3" && pwd) || exit 1
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
for unit in "$1"/vhx-*@.service "$1"/vhx-*@.socket; do
	# As if installed where the programs are.
	sed "s|=[^ ]*/\(vhx[a-z-]*\) |=$programs/\1 |" "$unit" >"$tmp/$(basename "$unit")" || exit 1
done
grep -q "^ExecStart=$programs/vhx-backend --config" "$tmp/vhx-backend@.service" || { echo "no ExecStart"; exit 1; }
cd "$tmp" || exit 1
cnt=0
for unit in *.service *.socket; do
	instance=${unit/@/@vm1}
	said=$(SYSTEMD_UNIT_PATH=$tmp: systemd-analyze verify --man=no --recursive-errors=no "$tmp/$instance" 2>&1)
	rc=$?
	# Of other units of this machine it may say what it likes.
	said=$(grep -F vhx- <<<"$said")
	if [ $rc -ne 0 ] || [ -n "$said" ]; then
		echo "$unit: status $rc: $said"
		exit 1
	fi
	cnt=$((cnt + 1))
	case $unit in *.socket) continue ;; esac
	cp "$unit" "$instance"
	said=$(systemd-analyze security --no-pager --offline=yes --threshold=19 "$tmp/$instance" 2>&1) ||
		{ echo "$unit: too exposed: $said"; exit 1; }
	echo "$unit: $(grep -o 'exposure level for.*' <<<"$said")"
	rm "$instance"
done
# The drop-in of docs/vduse.md, which lets a frontend reach VDUSE, as it would be merged.
sed -n '/^    \[Service\]$/,/^$/s/^    //p' "$docs/vduse.md" >dropin
grep -q '^DeviceAllow=char-vduse' dropin || { echo "no drop-in"; exit 1; }
cat vhx-frontend@.service dropin >vhx-frontend@host.service
said=$(SYSTEMD_UNIT_PATH=$tmp: systemd-analyze verify --man=no --recursive-errors=no "$tmp/vhx-frontend@host.service" 2>&1)
! grep -F vhx- <<<"$said" || exit 1
systemd-analyze security --no-pager --offline=yes --threshold=19 "$tmp/vhx-frontend@host.service" >exposure 2>&1 ||
	{ echo "with VDUSE: too exposed: $(cat exposure)"; exit 1; }
rm vhx-frontend@host.service
[ $cnt -eq 4 ] || { echo "$cnt units"; exit 1; }
# Every option of them is one that the program has: a configuration, and nothing else, is missing.
for program in backend frontend ivshmem; do
	line=$(sed -n 's/^ExecStart=//p' "vhx-$program@.service")
	# shellcheck disable=SC2086 # words on purpose
	said=$(${line//%i/none} 2>&1)
	grep -q "none.$program: No such file" <<<"$said" || { echo "vhx-$program: $said"; exit 1; }
done

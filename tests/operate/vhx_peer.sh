#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# vhx_peer.sh SCRIPT: the hook around xl, with an xl and a vhxctl that are scripts: a guest that is created, rebooted
# twice and ends.
set -u
hook=$1
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
export PATH=$tmp:$PATH VHX_PEER_PAUSE=0.05 HOOK_TMP=$tmp
cat >"$tmp/xl" <<'XL'
#!/bin/sh
case $1 in
domid) [ "$2" = web ] && cat "$HOOK_TMP/domid" 2>/dev/null ;;
create)
	[ "$2 $4" = "-F extra=1" ] || exit 9
	for domid in 4 5 7; do
		echo $domid >"$HOOK_TMP/domid"
		until grep -q "add ctl $domid" "$HOOK_TMP/calls" 2>/dev/null; do sleep 0.05; done
	done
	rm "$HOOK_TMP/domid"
	exit 3
	;;
esac
XL
cat >"$tmp/vhxctl" <<'CTL'
#!/bin/sh
echo "$*" >>"$HOOK_TMP/calls"
CTL
chmod +x "$tmp/xl" "$tmp/vhxctl"
printf 'type = "pvh"\nname = "web"\n' >"$tmp/web.cfg"
timeout 60 "$hook" ctl "$tmp/web.cfg" extra=1
[ $? -eq 3 ] || { echo "the status of xl is lost"; exit 1; }
diff - "$tmp/calls" <<'WANTED' || exit 1
peer add ctl 4
peer remove ctl 4
peer add ctl 5
peer remove ctl 5
peer add ctl 7
peer remove ctl 7
WANTED
echo 'type = "pvh"' >"$tmp/none.cfg"
timeout 60 "$hook" ctl "$tmp/none.cfg" 2>"$tmp/err" && exit 1
grep -q 'names no guest' "$tmp/err"

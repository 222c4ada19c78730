#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# flask.sh OUT: compiles the Flask policy of packaging/xen, on top of that of the lab's Xen. Its source, all in one,
# is OUT.conf then.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
out=$1
xen=$("$here/guest-xen.sh") || exit
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
cp -rL "$xen/flask" "$tmp/flask"
cp "$here"/../../packaging/xen/vhx.* "$tmp/flask/modules/"
echo 'vhx = on' >>"$tmp/flask/modules/modules.conf"
# As docs/xen-policy.md says it.
sed -i '/^allow domain_type domain_type:argo /d' "$tmp/flask/modules/guest_features.te"
mkdir "$tmp/build"
make -s -C "$tmp/flask" -f Makefile.common FLASK_BUILD_DIR="$tmp/build" FLASKDIR=hypervisor XEN_FULLVERSION=vhx \
	>"$tmp/log" 2>&1 || { cat "$tmp/log" >&2; exit 1; }
mv "$tmp/build/policy.conf" "$out.conf"
mv "$tmp/build/xenpolicy-vhx" "$out"

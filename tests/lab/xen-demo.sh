#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# xen-demo.sh: a PV and a PVH guest of a real Xen, each on a disk whose backend runs in dom0, over Argo: no shared
# memory, no grant, no xenstore, and one event channel per domain for all devices. Xen runs under QEMU, so that no
# hardware virtualisation is needed.
set -u
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
"$here/setup.sh" build guest kernel qemu xen || echo "demo: going on with what is there"
[ -e "$root/build/build.ninja" ] || meson setup "$root/build" "$root" >/dev/null || exit 1
ninja -C "$root/build" >/dev/null || exit 1
echo "demo: Xen is built from Debian's source the first time, which takes minutes; then it boots, which takes some more"
start=$SECONDS
VHX_BUILD=$root/build bash "$root/tests/e2e/xen_devices.sh" || exit
echo "demo: done in $((SECONDS - start)) s"

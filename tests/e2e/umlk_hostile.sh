#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# A backend that lies to the guest's driver, in every message and word that it can write, ends its own
# channel and nothing else: the kernel has no complaint, no process sees stale memory, and an honest backend
# works afterwards. The lab's own User-Mode Linux with KASAN and lockdep; VHX_TORTURE=1 makes it long,
# VHX_SEED another run of it.
# shellcheck source=../lab/lib.sh
. "$(dirname "$0")/../lab/lib.sh"
hostile=$vhx_build/tests/lab/hmx-hostile
[ -x "$hostile" ] || fail "$hostile was not built"
need_kernel umlk

spoils=300
[ "${VHX_TORTURE:-0}" = 0 ] || spoils=10000
seed=${VHX_SEED:-1}
cat >"$tmp/run.sh" <<GUEST
mount -t tmpfs tmpfs /tmp
truncate -s 4M /tmp/disk.img
hmx-hostile /tmp/disk.img $spoils $seed
GUEST
boot_driver --mem 384M --script "$tmp/run.sh" --program "$hostile" \
	--load virtio_hmx --load hmx_window --load hmx_test
guest_ok
guest_said '^hmx-hostile: honest disk: sound' || fail "the run did not come to its end"
summary=$(sed -n 's/\r//g; s/^hmx-hostile: \([0-9]* spoils.*\)/\1/p' "$tmp/guest.log" | tail -n 1)
case $summary in
*', reads 0,'* | *', errors 0,'*) fail "the disk was not used, or never failed: $summary" ;;
esac
echo "seed $seed: $summary"

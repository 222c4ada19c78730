#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# The kernel's side of a window, under KASAN and lockdep, against the rules of the exchange: the whole
# conformance suite with a port of the kernel at either end; lives that begin and end at any time, and hostile
# words. The other side is the user-space provider.
# shellcheck source=../lab/lib.sh
. "$(dirname "$0")/../lab/lib.sh"
suite=$vhx_build/tests/conformance/test_exchange
lives=$vhx_build/tests/unit/exchange/test_ivshmem
for f in "$suite" "$lives"; do
	[ -x "$f" ] || skip "package libcmocka-dev is missing ($f was not built)"
done
need_kernel umlk
cat >"$tmp/script" <<'GUEST'
test_ivshmem kernel || exit 1
test_exchange kernel || exit 2
test_exchange kernel-first || exit 3
for m in hmx_test hmx_window virtio_hmx; do
	rmmod $m || exit 4
done
echo ALL-RAN
GUEST
# User-Mode Linux has no other source of early randomness than its host's, which it has to be told to trust.
boot_driver --script "$tmp/script" --program "$suite" --program "$lives" --mem 384M \
	--load virtio_hmx --load hmx_window --load hmx_test --append random.trust_cpu=on
guest_ok
guest_said '^ALL-RAN' || fail "the guest did not come to its end"
assert_eq "tests that failed" "$(grep -ac 'FAILED' "$tmp/guest.log")" 0
grep -a 'PASSED' "$tmp/guest.log"

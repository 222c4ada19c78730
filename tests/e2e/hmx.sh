# SPDX-License-Identifier: BSD-3-Clause
# Sourced by the tests of the guest's driver in the lab's own User-Mode Linux, with KASAN and lockdep: backend and
# relay run in the guest, so that all that happens there is seen by the same kernel.
# shellcheck shell=bash
# shellcheck source=../lab/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/../lab/lib.sh"

# hmx_run SCRIPT [OPTION...]: one of tests/lab/guest; its last word becomes the test's.
hmx_run() {
	local script=$vhx_lab/guest/$1 words
	shift
	[ -x "$vhx_backend" ] || fail "$vhx_backend was not built"
	[ -x "$vhx_relay" ] || fail "$vhx_relay was not built"
	need_kernel umlk
	boot_driver --mem 384M --script "$script" --add "$vhx_lab/guest/hmx.sh" \
		--program "$vhx_backend" --program "$vhx_relay" \
		--load virtio_hmx --load hmx_window --load hmx_test "$@"
	guest_ok
	words=$(sed -n 's/\r//g; s/^[A-Z]*-DONE *//p' "$tmp/guest.log" | tail -n 1)
	guest_said '^[A-Z]*-DONE' || fail "the guest did not come to its end"
	echo "${words:-sound}"
}

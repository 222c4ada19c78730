#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# The newest kernel that Debian has: load, read back, unload; then kills of the backend under a verify load with two
# processors. In the long run only: its system is a download of its own, which changes by the day.
# shellcheck source=driver.sh
. "$(dirname "$0")/driver.sh"
[ -n "${VHX_TORTURE:-}" ] || skip "in make torture only: a system of Debian's unstable branch is downloaded for it"
driver_smoke sid
rm -rf "$tmp"
VHX_KERNEL=sid exec "$vhx_root/tests/e2e/ivshmem_backend_kill.sh"

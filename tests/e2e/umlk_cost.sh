#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# What requests through the guest's driver cost, in sends, wakes and messages, is what docs/wire.md promises.
# shellcheck source=hmx.sh
. "$(dirname "$0")/hmx.sh"
batch=$vhx_build/tests/lab/disk-batch
[ -x "$batch" ] || fail "$batch was not built"
hmx_run hmx-cost.sh --program "$vhxctl" --program "$batch"
grep -a '^COST' "$tmp/guest.log" | tr -d '\r'

#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# A disk of the guest's driver is taken away under load in every way there is, and comes back: driver unbound,
# backend without the device, window pulled out, modules reloaded. VHX_TORTURE=1 makes it long.
# shellcheck source=hmx.sh
. "$(dirname "$0")/hmx.sh"
rounds=3
[ -z "${VHX_TORTURE:-}" ] || rounds=30
hmx_run hmx-reload.sh --append "vhx_rounds=$rounds"

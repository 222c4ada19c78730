#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Debian's kernel 6.1 for arm64 under QEMU: weaker memory order than the host's.
# shellcheck source=driver.sh
. "$(dirname "$0")/driver.sh"
driver_smoke arm64

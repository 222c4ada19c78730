#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Debian's kernel 6.1 under QEMU.
# shellcheck source=driver.sh
. "$(dirname "$0")/driver.sh"
driver_smoke 6.1

#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Debian's kernel 6.12 under QEMU: another generation of the kernel's interfaces.
# shellcheck source=driver.sh
. "$(dirname "$0")/driver.sh"
driver_smoke 6.12

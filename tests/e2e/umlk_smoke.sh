#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# The lab's own User-Mode Linux, with KASAN, UBSan and lockdep.
# shellcheck source=driver.sh
. "$(dirname "$0")/driver.sh"
driver_smoke umlk

#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# A stock guest under User-Mode Linux works on a disk; the image is sound and complete afterwards.
# shellcheck source=disk.sh
. "$(dirname "$0")/disk.sh"
disk_flow uml

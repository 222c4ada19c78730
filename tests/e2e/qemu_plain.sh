#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# No EVENT_IDX and no indirect tables: the plainest split ring, where every notification counts.
# shellcheck source=disk.sh
. "$(dirname "$0")/disk.sh"
disk_flow qemu --no-event-idx --no-indirect

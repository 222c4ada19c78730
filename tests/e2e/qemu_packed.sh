#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# A stock Debian kernel under QEMU, packed virtqueues.
# shellcheck source=disk.sh
. "$(dirname "$0")/disk.sh"
disk_flow qemu --packed

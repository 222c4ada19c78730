#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# A stock Debian kernel under QEMU, split virtqueues.
# shellcheck source=disk.sh
. "$(dirname "$0")/disk.sh"
disk_flow qemu

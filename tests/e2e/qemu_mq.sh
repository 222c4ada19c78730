#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Two queues on two processors of the guest.
# shellcheck disable=SC2034 # for disk.sh
disk_queues=2
# shellcheck source=disk.sh
. "$(dirname "$0")/disk.sh"
disk_flow qemu --queues 2 --smp 2

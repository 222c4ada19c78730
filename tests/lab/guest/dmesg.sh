#!/bin/busybox sh
# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=dash
# dmesg-clean, in every guest: fails when the kernel has complained about itself, with the whole log from
# the first complaint on. The lists are of beginnings and phrases that the kernel's own checks print.
export PATH=/bin
bad='WARNING:|BUG:|INFO: |Oops|KASAN:|UBSAN:|ODEBUG:|cut here|Call Trace|general protection|corruption'
bad="$bad|refcount_t: |Unable to handle|Internal error|DEBUG_LOCKS_WARN|blocked for more than| stall"
bad="$bad|lockdep is turned off|circular locking|unreferenced object|nobody cared|scheduling while atomic"
bad="$bad|Unknown symbol|disagrees about version|sysfs: cannot create|kobject_add_internal failed"
# Said by every boot, and by nothing that went wrong.
harmless='Lock dependency validator|mem auto-init|[Dd]etector disabled|loading out-of-tree module taints'
harmless="$harmless|module verification failed"
first=$(dmesg | grep -En "$bad" | grep -Ev "$harmless" | head -n 1 | cut -d: -f1)
[ -n "$first" ] || exit 0
echo "guest: the kernel complains:"
dmesg | tail -n +"$first" | head -n 120
exit 1

#!/bin/busybox sh
# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=dash
# What runs in a domU of the lab: commands that come on its console, each answered by its output between two
# lines with its number, and its status. See domu_do in xen.sh.
echo DOMU-READY
while read -r number command; do
	[ -n "$number" ] || continue
	echo "CALL $number"
	( eval "$command" ) </dev/null 2>&1
	echo "DONE $number $?"
done

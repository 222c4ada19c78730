#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# The frontend is killed under a verify load and comes back: two packed virtqueues.
# shellcheck disable=SC2034 # for reconnect.sh
reconnect_queues=2
reconnect_packed=1
# shellcheck source=reconnect.sh
. "$(dirname "$0")/reconnect.sh"
reconnect_flow --packed --queues 2 --smp 2

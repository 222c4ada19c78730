#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# The frontend is killed under a verify load and comes back: split virtqueues.
# shellcheck source=reconnect.sh
. "$(dirname "$0")/reconnect.sh"
# shellcheck disable=SC2119 # no options
reconnect_flow

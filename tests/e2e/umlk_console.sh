#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# A console and a port on the guest's driver: hvc0, whose driver spins for its output, goes on whatever its backend
# does, also with the driver's own lines; a port loses nothing.
# shellcheck source=hmx.sh
. "$(dirname "$0")/hmx.sh"
need socat socat
hmx_run hmx-console.sh --program "$(command -v socat)" --append "console=hvc0 console=tty0"

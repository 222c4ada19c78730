#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# A backend that has stopped answering, with a request in flight: each vhost-user request is answered all
# the same, the queue's stop included, and the request ends when queue and backend go on.
# shellcheck source=../lab/lib.sh
. "$(dirname "$0")/../lab/lib.sh"
need_programs
need python3 python3
make_image "$tmp/disk.img" 16M
start_backend
start_frontend
python3 "$(dirname "$0")/vmm.py" "$tmp/vm.sock" "${daemon_pid[backend]}" || fail "see above"
alive frontend || fail "the frontend did not survive it"
kill -CONT "${daemon_pid[backend]}"

# The guest rewrites a chain in flight, and the VMM's memory moves: the queue is lost, nothing else.
python3 "$(dirname "$0")/vmm.py" "$tmp/vm.sock" "${daemon_pid[backend]}" moved || fail "see above"
alive frontend || fail "the frontend did not survive a chain that changed"
kill -CONT "${daemon_pid[backend]}"

# And it serves again: the next VMM gets its disk.
python3 "$(dirname "$0")/vmm.py" "$tmp/vm.sock" || fail "the next VMM was not served"
stop frontend
stop backend

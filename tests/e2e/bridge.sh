# SPDX-License-Identifier: BSD-3-Clause
# Sourced by tests of the bridge to vhost-user back-ends: lib.sh, and the back-ends that Debian has.
# shellcheck shell=bash disable=SC2154
# shellcheck source=../lab/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/../lab/lib.sh"

need_storage_daemon() {
	need qemu-storage-daemon qemu-system-common
}

# start_storage_daemon OPTION...: with an export on $tmp/qsd.sock.
start_storage_daemon() {
	rm -f "$tmp/qsd.sock"
	start qsd qemu-storage-daemon "$@"
	wait_listening qsd "$tmp/qsd.sock"
}

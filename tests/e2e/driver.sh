# SPDX-License-Identifier: BSD-3-Clause
# Sourced: the guest's own driver, once, on one kernel: load, find the disk, read back what was written,
# unload, and not a complaint from the kernel.
# shellcheck shell=bash
# shellcheck source=../lab/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/../lab/lib.sh"

# driver_smoke KERNEL: over a window of ivshmem under QEMU; in User-Mode Linux, which has no PCI, backend
# and relay run in the guest, and so on the kernel under test.
driver_smoke() {
	need_programs
	need_kernel "$1"
	case $1 in
	umlk) smoke_inside ;;
	*) smoke_ivshmem ;;
	esac
	guest_said '^SMOKE-DONE' || fail "the guest did not come to its end"
}

smoke_ivshmem() {
	make_image "$tmp/disk.img" 32M
	start_backend
	start_ivshmem
	boot_driver --private --ivshmem "$tmp/iv.sock" --script "$vhx_lab/guest/smoke.sh" \
		--load virtio_hmx --load hmx_window --load hmx_ivshmem \
		--append vhx_unload=hmx_ivshmem,hmx_window,virtio_hmx
	guest_ok
	stop ivshmem
	stop backend
	assert_eq "what the guest read and what the image has" \
		"$(sed -n 's/\r//g; s/^SUM //p' "$tmp/guest.log")" \
		"$(head -c 8M "$tmp/disk.img" | sha256sum)"
}

smoke_inside() {
	cat >"$tmp/start.sh" <<-'GUEST'
		truncate -s 32M /tmp/disk.img
		vhx-backend --listen unix:/tmp/be.sock --device blk,id=disk0,file=/tmp/disk.img &
		until [ -S /tmp/be.sock ]; do
			sleep 0.1
		done
		hmx-test-relay /tmp/be.sock &
		relay=$!
	GUEST
	cat >"$tmp/stop.sh" <<-'GUEST'
		kill "$relay"
		wait "$relay" || true
	GUEST
	boot_driver --add "$tmp/start.sh" --add "$tmp/stop.sh" \
		--script "$vhx_lab/guest/smoke.sh" \
		--program "$vhx_backend" --program "$vhx_relay" \
		--load virtio_hmx --load hmx_window --load hmx_test \
		--append vhx_unload=hmx_test,hmx_window,virtio_hmx
	guest_ok
}

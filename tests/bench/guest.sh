#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# guest.sh BUILD: in one guest under QEMU (software emulation), in one boot, the same image in memory: a disk over a
# window of ivshmem against QEMU's own virtio-blk-pci, in alternating rounds of fio. Prints medians, ratios, and what
# the driver counted per request. BENCH_ROUNDS (5), BENCH_SECONDS per job (4), BENCH_KERNEL (6.1), BENCH_SMP (1),
# BENCH_POLL the backend's --poll-us (its own default for a window), BENCH_KEEP=FILE keeps the guest's lines,
# BENCH_DRIVER a folder of other modules to measure.
# Exit status: 0 measured, 77 something is missing, 1 failed.
set -u
build=$(cd "${1:?usage: guest.sh BUILD}" && pwd) || exit 1
here=$(cd "$(dirname "$0")" && pwd)
export VHX_BUILD=$build VHX_KERNEL=${BENCH_KERNEL:-6.1} VHX_GUEST_PATIENCE=${VHX_GUEST_PATIENCE:-1800} TMPDIR=/dev/shm
# shellcheck source=../e2e/ivshmem.sh
. "$here/../e2e/ivshmem.sh"
need fio fio
driver_modules=${BENCH_DRIVER:-$driver_modules}
rounds=${BENCH_ROUNDS:-5} seconds=${BENCH_SECONDS:-4}
# Written, not sparse: holes would be read from nowhere.
head -c 128M /dev/urandom >"$tmp/disk.img" || fail "no room for an image"
cp "$tmp/disk.img" "$tmp/own.img" || fail "no room for a second image"
ivshmem_devices=(--device "blk,id=disk0,file=$tmp/disk.img" ${BENCH_POLL:+--poll-us "$BENCH_POLL"})
echo "bench: $rounds rounds of $seconds s per job, Linux $VHX_KERNEL, ${BENCH_SMP:-1} processors, \
backend polls for ${BENCH_POLL:-as long as it likes}, load $(cut -d' ' -f1-3 /proc/loadavg)"
# The kernel copies by rep movsq where it believes that to be fast. Under emulation each of its steps is a block of its
# own: twice the time of a loop, in a copy that only one of the two disks makes.
ivshmem_boot "$vhx_lab/guest/bench.sh" --fio --mem 384M --smp "${BENCH_SMP:-1}" --drive "$tmp/own.img" \
	--append "clearcpuid=rep_good vhx_rounds=$rounds vhx_seconds=$seconds"
ivshmem_end
guest_said '^BENCH-DONE' || fail "the guest did not come to its end"
sed -n 's/\r//g; /^BENCH \|^COUNT /p' "$tmp/guest.log" >"$tmp/raw"
[ -z "${BENCH_KEEP:-}" ] || cp "$tmp/raw" "$BENCH_KEEP"
echo "bench: load $(cut -d' ' -f1-3 /proc/loadavg)"
python3 -B "$here/guest_report.py" "$tmp/raw"

#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# bench.sh BUILD: the same jobs on the same file in memory, side by side, in alternating rounds:
#   a    qemu-storage-daemon, vhost-user-blk: shares all memory of its client
#   b1   vhx-backend, its client embeds libvhx; both look for work for BENCH_POLL_US (32, the default of both
#        where they are not pinned) before they sleep
#   b1s  the same, but both sleep at once
#   b2   vhx-backend behind vhx-frontend, the client is that of a
#   c    qemu-storage-daemon, NBD on a unix socket
#   c2   nbdkit, the same; its file plugin serves with several threads
# Prints medians, and ratios: those are what two machines can compare, never the figures.
#   BENCH_ROUNDS (3), BENCH_SECONDS per point (1), BENCH_SIZE of the file (1G), BENCH_ENGINES ("a b1 b1s b2 c c2"),
#   BENCH_CPU_CLIENT, BENCH_CPU_SERVER, BENCH_CPU_FRONTEND,
#   BENCH_QSD_AIO (threads or io_uring), BENCH_KEEP=FILE keeps the raw lines.
# Exit status: 0 measured, 77 nothing to compare with, 1 failed.
set -u -o pipefail

build=${1:?usage: bench.sh BUILD}
here=$(cd "$(dirname "$0")" && pwd)
rounds=${BENCH_ROUNDS:-3}
seconds=${BENCH_SECONDS:-1}
size=${BENCH_SIZE:-1G}
poll_us=${BENCH_POLL_US:-32}
qsd_aio=${BENCH_QSD_AIO:-threads}
cpus=$(nproc)
cpu_client=${BENCH_CPU_CLIENT:-0}
cpu_server=${BENCH_CPU_SERVER:-$((cpus > 1 ? 1 : 0))}
# The third process of b2 has a CPU of its own where there is one, else it shares the backend's.
cpu_frontend=${BENCH_CPU_FRONTEND:-$((cpus > 2 ? 2 : cpu_server))}
load=$build/tests/bench/vhx-load

points=(
	'4k-read-1    --random --block-size 4K --depth 1'
	'4k-write-1   --random --block-size 4K --depth 1 --access write'
	'4k-read-32   --random --block-size 4K --depth 32'
	'4k-write-32  --random --block-size 4K --depth 32 --access write'
	'128k-read-16   --block-size 128K --depth 16'
	'128k-write-16  --block-size 128K --depth 16 --access write'
)

dir=$(mktemp -d "${TMPDIR:-/dev/shm}/vhx-bench.XXXXXX") || exit 1
raw=${BENCH_KEEP:-$dir/raw}
img=$dir/image
servers=()

# A storage daemon may ignore SIGTERM for minutes.
stop_servers() {
	local p n
	for p in "${servers[@]}"; do kill "$p" 2>/dev/null; done
	for p in "${servers[@]}"; do
		for n in {1..20}; do
			kill -0 "$p" 2>/dev/null || break
			[ "$n" = 20 ] && kill -9 "$p" 2>/dev/null
			sleep 0.02
		done
		wait "$p" 2>/dev/null
	done
	servers=()
	rm -f "$dir"/*.sock
}
trap 'stop_servers; rm -rf "$dir"' EXIT
trap 'exit 1' INT TERM

start() { # CPU COMMAND...
	local cpu=$1
	shift
	taskset -c "$cpu" "$@" >>"$dir/log" 2>&1 </dev/null &
	servers+=($!)
}

await() { # SOCKET
	local n
	for n in {1..200}; do
		[ -S "$1" ] && return 0
		sleep 0.02
	done
	echo "bench: $1 did not appear:" >&2
	tail -n 5 "$dir/log" >&2
	return 1
}

qsd() { # EXPORT...
	start "$cpu_server" qemu-storage-daemon \
		--blockdev "driver=file,node-name=f,filename=$img,aio=$qsd_aio,locking=off" "$@"
}

backend() { # POLL_US
	start "$cpu_server" "$build/tools/vhx-backend" --log-level warning --poll-us "$1" \
		--listen "unix:$dir/b.sock" --device "blk,id=disk0,file=$img"
	await "$dir/b.sock"
}

start_a() {
	qsd --export "vhost-user-blk,id=e,node-name=f,writable=on,addr.type=unix,addr.path=$dir/v.sock"
	await "$dir/v.sock" && client=(--engine vhost-user --target "$dir/v.sock")
}
start_b1() {
	backend "$poll_us" && client=(--engine vhx --target "unix:$dir/b.sock" --poll-us "$poll_us")
}
start_b1s() {
	backend 0 && client=(--engine vhx --target "unix:$dir/b.sock" --poll-us 0)
}
start_b2() {
	backend 0 || return 1
	start "$cpu_frontend" "$build/tools/vhx-frontend" --log-level warning \
		--connect "unix:$dir/b.sock" --vhost-user "$dir/v.sock" --control "$dir/c.sock"
	await "$dir/v.sock" && client=(--engine vhost-user --target "$dir/v.sock")
}
start_c() {
	qsd --nbd-server "addr.type=unix,addr.path=$dir/n.sock" \
		--export nbd,id=e,node-name=f,name=,writable=on
	await "$dir/n.sock" && client=(--engine nbd --target "$dir/n.sock")
}
start_c2() {
	start "$cpu_server" nbdkit -f -U "$dir/n.sock" file "$img"
	await "$dir/n.sock" && client=(--engine nbd --target "$dir/n.sock")
}

has() { command -v "$1" >/dev/null; }
usable() {
	case $1 in
	a) has qemu-storage-daemon ;;
	b*) [ -x "$build/tools/vhx-backend" ] ;;
	c) has qemu-storage-daemon && nbd_there ;;
	c2) has nbdkit && nbd_there ;;
	esac
}
# Built without libnbd, it does not know the word.
nbd_there() { "$load" --engine nbd --help >/dev/null 2>&1; }

measure() { # ENGINE POINT JOB...
	local engine=$1 point=$2 pids out frontend=null
	shift 2
	"start_$engine" || return 1
	pids=$(IFS=:; echo "${servers[*]}")
	out=$(timeout 60 "$load" "${client[@]}" --cpu "$cpu_client" --pids "$pids" --run-ms "$ms" "$@") ||
		{ echo "bench: $engine $point failed:" >&2; tail -n 5 "$dir/log" >&2; return 1; }
	[ -S "$dir/c.sock" ] && frontend=$("$build/tools/vhxctl" stats "$dir/c.sock" --json)
	echo "{\"engine\": \"$engine\", \"point\": \"$point\", \"load\": $out, \"frontend\": $frontend}" >>"$raw"
	stop_servers
}

engines=()
for e in ${BENCH_ENGINES:-a b1 b1s b2 c c2}; do
	if usable "$e"; then engines+=("$e"); else echo "bench: $e is left out: its program is missing"; fi
done
[ ${#engines[@]} -gt 0 ] || exit 77

ms=$(awk -v s="$seconds" 'BEGIN { printf "%d", s * 1000 }')
bytes=$(numfmt --from=iec "$size")
free=$(($(df --output=avail -B1 "$dir" | tail -n 1) / 2))
[ "$bytes" -le "$free" ] || bytes=$((free / 1048576 * 1048576))
[ "$bytes" -ge 67108864 ] || { echo "bench: no room for an image in $dir"; exit 1; }
# Written, not sparse: holes would be read from nowhere.
head -c "$bytes" /dev/urandom >"$img" || exit 1
: >"$raw"

echo "bench: $rounds rounds of ${seconds} s per point, $((bytes / 1048576)) MiB on $(stat -f -c %T "$dir")"
echo "bench: CPUs of $cpus: client $cpu_client, servers $cpu_server, frontend of b2 $cpu_frontend; b1 with --poll-us $poll_us;" \
	"qemu-storage-daemon with aio=$qsd_aio"
{
	echo "{\"scale\": $("$build/tests/bench/vhx-scale" "$cpu_client" "$cpu_server")}"
	echo "{\"loadavg\": \"$(cut -d' ' -f1-3 /proc/loadavg)\"}"
} >>"$raw"
for round in $(seq "$rounds"); do
	for p in "${points[@]}"; do
		read -r -a job <<<"$p"
		# Each round begins with another engine.
		for i in "${!engines[@]}"; do
			measure "${engines[$(((i + round) % ${#engines[@]}))]}" "${job[@]}" || exit 1
		done
	done
done
echo "{\"loadavg\": \"$(cut -d' ' -f1-3 /proc/loadavg)\"}" >>"$raw"
python3 "$here/report.py" "$raw"

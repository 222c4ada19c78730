#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# check.sh [--quick | --torture] [TIER...]: set-up, then the tests in tiers, each with its time.
#   tiers: build sanitize uml qemu xen fuzz deb (default: all)
# Each test passes, fails or is skipped with its reason; output is kept in build/check-logs and shown
# for failures. The last line is "N passed, N failed, N skipped". Exit status 1 when anything failed
# or when nothing could run at all.
set -u
export LC_ALL=C
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
cd "$root" || exit 1
PATH=$PATH:/usr/sbin:/sbin
logs=$root/build/check-logs
mode=full tiers=()
for a in "$@"; do
	case $a in
	--quick) mode=quick ;;
	--torture) mode=torture ;;
	build|sanitize|uml|qemu|xen|fuzz|deb) tiers+=("$a") ;;
	*) echo "usage: check.sh [--quick | --torture] [build|sanitize|uml|qemu|xen|fuzz|deb]..."; exit 2 ;;
	esac
done
if [ ${#tiers[@]} -eq 0 ]; then
	case $mode in
	quick) tiers=(build uml) ;;
	torture) tiers=(build sanitize uml qemu xen fuzz) ;;
	*) tiers=(build sanitize uml qemu xen fuzz deb) ;;
	esac
fi

passed=0 failed=0 skipped=0
failures=() skips=()

# reason LOG: why a test was skipped, its last line.
reason() {
	local why
	why=$(grep -a . "$1" 2>/dev/null | tail -n 1 | sed 's/^SKIP: //')
	echo "${why:-no reason given}"
}

# verdict NAME STATUS SECONDS LOG: counts and reports one test.
verdict() {
	local why
	case $2 in
	0)
		passed=$((passed + 1))
		printf '  ok    %-34s %4s s\n' "$1" "$3"
		;;
	77)
		skipped=$((skipped + 1))
		why=$(reason "$4")
		skips+=("$1: $why")
		printf '  skip  %-34s %s\n' "$1" "$why"
		;;
	*)
		failed=$((failed + 1))
		failures+=("$1 (status $2, ${4#"$root"/})")
		printf '  FAIL  %-34s %4s s  status %s\n' "$1" "$3" "$2"
		tail -n 60 "$4" | sed 's/^/        | /'
		;;
	esac
}

# bounded NAME COMMAND...: the command with its output in NAME.log; a hang is a failure, not a hang of
# the whole.
bounded() {
	local name=$1 rc
	shift
	timeout --kill-after=30 "${run_limit:-900}" "$@" >"$logs/$name.log" 2>&1 </dev/null
	rc=$?
	[ $rc -ne 124 ] || echo "no end within ${run_limit:-900} s" >>"$logs/$name.log"
	return $rc
}

# run NAME COMMAND...: one test of its own.
run() {
	local name=$1 start=$SECONDS rc
	bounded "$@"
	rc=$?
	verdict "$name" $rc $((SECONDS - start)) "$logs/$name.log"
	return $rc
}

# Tests of guests mostly wait for one virtual CPU: as many run side by side as there are CPUs, but not more
# than four, since each takes up to 2.5 GiB. What runs: names and starts by process.
side_max=$(nproc)
[ "$side_max" -le 4 ] || side_max=4
declare -A side_name=() side_start=()

# side_end: waits for the end of one of those that run, and reports it.
side_end() {
	local pid rc name
	wait -n -p pid
	rc=$?
	name=${side_name[$pid]}
	verdict "$name" $rc $((SECONDS - side_start[$pid])) "$logs/$name.log"
	unset "side_name[$pid]" "side_start[$pid]"
}

# side NAME COMMAND...: starts a test beside others, once there is a place. Its partner is side_all.
side() {
	[ ${#side_name[@]} -lt "$side_max" ] || side_end
	bounded "$@" &
	side_name[$!]=$1 side_start[$!]=$SECONDS
}

side_all() {
	while [ ${#side_name[@]} -gt 0 ]; do
		side_end
	done
}

skip_test() {
	echo "SKIP: $2" >"$logs/$1.log"
	verdict "$1" 77 0 "$logs/$1.log"
}

# What sanitized programs have to be started by here, see sanitizer().
launcher=()

# probe LABEL: does the probe run? More than once: where it fails for its addresses, it's by chance.
probe() (
	for _ in {1..20}; do
		${launcher[@]+"${launcher[@]}"} "$logs/probe-$1" || exit
	done >"$logs/probe-$1.log" 2>&1
)

# sanitizer LABEL COMPILER KIND: can programs with this sanitizer run, and with which launcher? Kernels
# that place mappings more at random than a sanitizer knows (vm.mmap_rnd_bits) need one. Where nothing
# helps, LABEL is skipped.
sanitizer() {
	launcher=()
	if ! echo 'int main(void) { return 0; }' | "$2" -fsanitize="$3" -x c - -o "$logs/probe-$1" \
		>"$logs/probe-$1.log" 2>&1; then
		skip_test "$1" "$2 can't build with -fsanitize=$3: $(reason "$logs/probe-$1.log")"
		return 1
	fi
	probe "$1" && return
	launcher=(setarch "$(uname -m)" -R)
	probe "$1" && return
	launcher=()
	skip_test "$1" "-fsanitize=$3 can't run: $(reason "$logs/probe-$1.log")"
	return 1
}

# suites DIR LABEL TIMEOUT_FACTOR SUITE...: meson's tests of these suites, counted one by one.
suites() {
	local dir=$1 label=$2 factor=$3 s args=() log json
	shift 3
	for s in "$@"; do
		args+=(--suite "$s")
	done
	log=$logs/meson-$label.log
	json=$dir/meson-logs/testlog.json
	rm -f "$json"
	${launcher[@]+"${launcher[@]}"} timeout --kill-after=30 1500 meson test -C "$dir" --no-rebuild --timeout-multiplier "$factor" \
		--print-errorlogs "${args[@]}" >"$log" 2>&1 </dev/null
	if ! [ -s "$json" ]; then
		verdict "$label" 1 0 "$log"
		return
	fi
	while IFS=$'\t' read -r name status seconds; do
		verdict "$label/$name" "$status" "$seconds" "$logs/$label-${name//\//_}.log"
	done < <(python3 "$here/testlog.py" "$json" "$logs" "$label")
}

# build DIR LABEL ARG...: configures once, then builds; warnings are errors here.
build() {
	local dir=$1 label=$2
	shift 2
	if ! [ -e "$dir/build.ninja" ]; then
		run "$label-configure" meson setup "$dir" -Dwerror=true "$@" || return 1
	fi
	# All errors of a broken build, not only the first.
	run_limit=1500 run "$label" ninja -k 0 -C "$dir"
}

lacking() {
	"$here/setup.sh" --missing "$@" 2>/dev/null
}

tier_build() {
	local lack
	if ! lack=$(lacking build); then
		skip_test build "packages are missing: $lack"
		return
	fi
	# The directory of plain `make` may be configured without werror: the check has its own.
	build build-check build || return
	lack=$(lacking test) || skip_test unit "packages are missing: $lack"
	suites build-check plain 4 style unit conformance
	if command -v shellcheck >/dev/null; then
		run shellcheck "$here/scripts.sh"
	else
		skip_test shellcheck "package shellcheck is missing"
	fi
	[ $mode = quick ] && return
	if lack=$(lacking kernel); then
		run driver-static "$here/driver-static.sh"
	else
		skip_test driver-static "packages are missing: $lack"
	fi
	if command -v clang-tidy >/dev/null; then
		run clang-tidy "$here/tidy.sh" build-check
	else
		skip_test clang-tidy "package clang-tidy is missing"
	fi
}

# asan_build: build-asan, with the sanitizers of addresses and of undefined behaviour, by the compiler that
# can build fuzzers where it is there. Once for all tiers that use it. Sets launcher.
asan_built=
asan_build() {
	local cc=${CC:-cc}
	lacking build sanitize >/dev/null && cc=clang
	sanitizer asan "$cc" address,undefined || return
	[ -z "$asan_built" ] || return 0
	CC=$cc build build-asan asan -Db_sanitize=address,undefined -Db_lundef=false && asan_built=1
}

tier_sanitize() {
	local lack
	if ! lack=$(lacking build test); then
		skip_test sanitize "packages are missing: $lack"
		return
	fi
	asan_build && suites build-asan asan 8 unit conformance
	# gcc warns that it does not model fences: races that only a fence orders would be false reports.
	sanitizer tsan "${CC:-cc}" thread &&
		build build-tsan tsan -Db_sanitize=thread -Dc_args=-Wno-tsan &&
		suites build-tsan tsan 12 threads
	launcher=()
	build build-release release --buildtype=release &&
		suites build-release release 4 unit conformance
	[ $mode = torture ] || return
	# What the other compiler and its sanitizers see.
	sanitizer asan-gcc gcc address,undefined &&
		CC=gcc build build-asan-gcc asan-gcc -Db_sanitize=address,undefined &&
		suites build-asan-gcc asan-gcc 8 unit conformance
	launcher=()
}

# skip_e2e REASON TEST...: skips each of these end-to-end tests.
skip_e2e() {
	local why=$1 t
	shift
	for t in "$@"; do
		skip_test "$(basename "$t" .sh)" "$why"
	done
}

# e2e TEST...: end-to-end tests; they find the programs in build-check.
e2e() {
	local t lack
	if ! [ -e build-check/tools ] && ! lack=$(lacking build); then
		skip_e2e "packages are missing: $lack" "$@"
		return
	fi
	for t in "$@"; do
		VHX_BUILD=$root/build-check side "$(basename "$t" .sh)" bash "$t"
	done
	side_all
}

# guest KIND TEST...: boots the guest once; where there is none, skips these tests of it.
guest() {
	local kind=$1 why
	shift
	run "guest-$kind" "$here/prepare.sh" "$kind"
	case $? in
	0) return 0 ;;
	77) why=$(reason "$logs/guest-$kind.log") ;;
	*) why="guest-$kind failed" ;;
	esac
	skip_e2e "$why" "$@"
	return 1
}

tier_uml() {
	local tests=(tests/e2e/uml_*.sh) sanitized=()
	if [ $mode = quick ]; then
		tests=(tests/e2e/uml_disk.sh)
	else
		# These need no guest.
		e2e tests/e2e/bad_*.sh
		[ -d build-asan/tools ] && sanitized=(uml_disk-asan)
	fi
	if guest uml "${tests[@]}" ${sanitized[@]+"${sanitized[@]}"}; then
		e2e "${tests[@]}"
	else
		sanitized=()
	fi
	if [ ${#sanitized[@]} -gt 0 ]; then
		asan_build &&
			VHX_BUILD=$root/build-asan run uml_disk-asan \
				${launcher[@]+"${launcher[@]}"} bash tests/e2e/uml_disk.sh
		launcher=()
	fi
	[ $mode = quick ] && return
	# The guest's own driver, on a kernel that checks what it does.
	tests=(tests/e2e/umlk_*.sh)
	guest umlk "${tests[@]}" && e2e "${tests[@]}"
}

tier_qemu() {
	local tests=(tests/e2e/qemu_*.sh tests/e2e/ivshmem_*.sh)
	guest qemu "${tests[@]}" || return
	e2e "${tests[@]}"
}

# A real Xen with Argo. Each test is one boot of it, which serves many checks.
tier_xen() {
	local tests=(tests/e2e/xen_*.sh)
	case " ${tiers[*]} " in
	*" build "*) ;;
	*) lacking build >/dev/null && { build build-check build || return; } ;;
	esac
	run_limit=1800 guest xen "${tests[@]}" || return
	run_limit=2700 e2e "${tests[@]}"
}

# The first run makes a clean system, which takes its time.
tier_deb() {
	local lack
	if ! lack=$(lacking build deb); then
		skip_test deb "packages are missing: $lack"
		return
	fi
	run_limit=1800 run deb bash tests/e2e/deb.sh
}

tier_fuzz() {
	local lack
	if ! lack=$(lacking build); then
		skip_test fuzz "packages are missing: $lack"
		return
	fi
	asan_build && suites build-asan fuzz 8 fuzz
	launcher=()
}

rm -rf "$logs"
mkdir -p "$logs"
if [ $mode = torture ]; then
	export VHX_TORTURE=1 VHX_GUEST_PATIENCE=1800
	run_limit=2400
fi
began=$SECONDS
"$here/setup.sh" || echo "check: going on with what is there"
echo "set-up: $((SECONDS - began)) s"
for tier in "${tiers[@]}"; do
	tier_began=$SECONDS
	echo "== $tier"
	"tier_$tier"
	echo "== $tier: $((SECONDS - tier_began)) s"
done

echo "total: $((SECONDS - began)) s"
for s in ${skips[@]+"${skips[@]}"}; do
	echo "skipped: $s"
done
for f in ${failures[@]+"${failures[@]}"}; do
	echo "failed: $f"
done
[ $((passed + failed)) -gt 0 ] || echo "nothing could run"
echo "$passed passed, $failed failed, $skipped skipped"
[ $failed -eq 0 ] && [ $passed -gt 0 ]

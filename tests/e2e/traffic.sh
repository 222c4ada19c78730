# SPDX-License-Identifier: BSD-3-Clause
# Sourced: traffic with a guest at 10.9.0.2 that runs iperf3 -s, and that none of it is lost.
# shellcheck shell=bash disable=SC2154
need ping iputils-ping
need python3 python3
need iperf3 iperf3

# flood COUNT [OPTION...]: pings as fast as they are answered, each of them.
flood() {
	local cnt=$1
	shift
	ping -q -f -c "$cnt" "$@" 10.9.0.2 >"$tmp/ping.log" || fail "ping: $(cat "$tmp/ping.log")"
	assert_match "ping" "$(cat "$tmp/ping.log")" "$cnt received, 0% packet loss"
}

# load BYTES OPTION...: iperf3, each of whose streams moves more than that.
load() {
	local least=$1
	shift
	iperf3 -c 10.9.0.2 -J "$@" >"$tmp/iperf3.json" || fail "iperf3 $*: $(tail -n 3 "$tmp/iperf3.json")"
	python3 -c 'import json, sys
e = json.load(open(sys.argv[1]))["end"]
assert all(s["receiver"]["bytes"] > int(sys.argv[2]) for s in e["streams"]), e
print("iperf3 %s: %.0f Mbit/s" % (sys.argv[3], e["sum_received"]["bits_per_second"] / 1e6))' \
		"$tmp/iperf3.json" "$least" "$*" || fail "iperf3 $* moved nothing"
}

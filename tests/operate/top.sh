#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# top.sh BACKEND LOAD VHXCTL: the live screen in a real terminal: what it shows under load, of another size, after the
# program was replaced; and the terminal as it was, when it ends.
set -u
backend=$1 load=$2 vhxctl=$3
# shellcheck source=programs.sh
. "$(dirname "$0")/programs.sh"
trap 'tmux -S "$tmp/tmux" kill-server 2>/dev/null; cleanup' EXIT
command -v tmux >/dev/null || { echo "SKIP: package tmux is missing"; exit 77; }
# A terminal description and a locale that any system has.
export TERM=screen LC_ALL=C.UTF-8

fail() {
	echo "$1; the screen:"
	screen
	exit 1
}

screen() {
	tmux -S "$tmp/tmux" capture-pane -p -t 0
}

# until_screen PATTERN: shows, sooner or later, a line that matches.
until_screen() {
	local end=$((SECONDS + guard_s))
	until screen | grep -Eq -- "$1"; do
		[ $SECONDS -lt $end ] || fail "never showed '$1'"
		sleep 0.1
	done
}

answers() {
	"$vhxctl" stats "$tmp/c" >/dev/null 2>&1
}

serve() {
	"$backend" --listen "unix:$tmp/s" --control "$tmp/c" --log-level error \
		--device "blk,id=disk-of-mine,file=$tmp/img" &
	pids+=($!)
	until_true answers
}

truncate -s 8M "$tmp/img"
serve
"$load" --target "unix:$tmp/s" --depth 4 --run-ms 120000 >/dev/null 2>&1 &
pids+=($!)
# In the socket's folder: its whole name may be longer than a narrow screen, which cuts what stands behind it.
tmux -S "$tmp/tmux" -f /dev/null new-session -d -x 120 -y 24 -c "$tmp" \
	"'$(realpath "$vhxctl")' top c; echo ended \$?; cat" || exit 1
until_screen '^vhx-backend [0-9.]+ +pid [0-9]+ +memory [0-9.]+[kM]? +wakes/request [0-9]+\.[0-9]+ +every 1 s +q quits'
# id, type, state, rates, depth, latencies with units, no error
until_screen '^disk-of-mine +blk +attached +[0-9.]+[kM]? +[0-9.]+[kM]? +[0-9.]+[kMG]? +[0-9]+( +[0-9.]+(us|ms|s)){3} +0$'
until_screen '^pid [0-9]+ uid [0-9]+ +established +[0-9.]+k? '

# Narrow: cut, not wrapped, so that each row stays one line.
tmux -S "$tmp/tmux" resize-window -t 0 -x 50 -y 12
until_screen '^disk-of-mine +blk +attached +[0-9.]*[kM]?$|^disk-of-mine +blk +attached +[0-9.]+[kM]? +[0-9.]*[kM]?$'
[ "$(screen | grep -c '^DEVICE')" -eq 1 ] || fail "wrapped"

# The program goes and comes back as another process: said, then gone again.
kill -9 "${pids[0]}"
until_screen 'c: Connection refused'
tmux -S "$tmp/tmux" resize-window -t 0 -x 120 -y 24
pids=("${pids[1]}")
serve
until_screen "pid ${pids[1]} "
until_screen '^disk-of-mine +blk +attached +[0-9]'
screen | grep -q refused && fail "still says that nobody answers"

tmux -S "$tmp/tmux" send-keys -t 0 q
until_screen '^ended 0'
[ "$(tmux -S "$tmp/tmux" display -p -t 0 '#{cursor_flag}#{alternate_on}')" = 10 ] ||
	fail "the terminal was not put back"

# Without a terminal: plain text, bounded.
"$vhxctl" top "$tmp/c" --count 2 >"$tmp/text" </dev/null || exit 1
[ "$(grep -c '^DEVICE' "$tmp/text")" -eq 2 ] || { cat "$tmp/text"; exit 1; }
grep -q $'\033' "$tmp/text" && { echo "escapes outside of a terminal"; exit 1; }
"$vhxctl" top "$tmp/nobody" 2>/dev/null
[ $? -eq 1 ]

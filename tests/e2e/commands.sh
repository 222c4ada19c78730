# SPDX-License-Identifier: BSD-3-Clause
# Sourced: a guest that does what the test says, command by command.
# shellcheck shell=bash disable=SC2154

# guest_obeys: the end of a guest's script, which takes commands, one per line, until one is "end".
guest_obeys() {
	cat <<'GUEST'
while read -r line; do
	case $line in
	end) break ;;
	*) eval "$line" && echo "DONE $line" || echo "FAILED $line" ;;
	esac
done
exit 0
GUEST
}

# guest COMMAND: by the guest's shell; waits for its end.
asked=0
guest() {
	asked=$((asked + 1))
	say "{ $*; } && : $asked"
	wait_guest "^(DONE|FAILED) .*: $asked\$"
	guest_said "^DONE .*: $asked\$" || fail "the guest failed: $*"
}

#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# The Flask policy compiles, and of exchange by Argo it allows what docs/xen-policy.md says and nothing else.
# shellcheck source=../lab/lib.sh
. "$(dirname "$0")/../lab/lib.sh"
need checkpolicy checkpolicy
need m4 m4
made "Xen" "$vhx_lab/guest-xen.sh"
"$vhx_lab/flask.sh" "$tmp/policy" || fail "the policy does not compile"
# The first bytes of a policy for Xen.
[ "$(head -c 4 "$tmp/policy" | od -An -tx4 | tr -d ' ')" = f97cff8c ] || fail "this is no policy"
assert_eq "rules for argo" "$(sed -n 's/^[[:space:]]*allow \(.*:argo .*\)/\1/p' "$tmp/policy.conf" | tr -s ' ' | sort)" \
	"$(sort <<-'TEXT'
		dom0_t vhx_guest_t:argo { register_single_source send };
		domain_type xen_t:argo { enable register_any_source };
		vhx_guest_t dom0_t:argo { register_single_source send };
	TEXT
	)"
echo "a domain labelled vhx_guest_t and dom0 exchange, no other pair"

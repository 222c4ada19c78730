#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# The Flask policy of packaging/xen: it compiles, of exchange by Argo it allows what docs/xen-policy.md says and nothing
# else, and a Xen that boots with it keeps a domU from a backend that its neighbour uses.
# shellcheck source=../lab/lib.sh
. "$(dirname "$0")/../lab/lib.sh"
need checkpolicy checkpolicy
need m4 m4
need_programs
need_xen
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
boot xen --xsm "xsm=flask flask=enforcing" --policy "$tmp/policy" --modules "$driver_modules" \
	--program "$vhx_backend" --program "$vhxctl" --add "$vhx_lab/guest/xen-vhx.sh" --script "$vhx_lab/guest/xen-flask.sh"
guest_ok
guest_said '^XEN-FLASK-DONE' || fail "the script did not come to its end"
sed 's/\r//g' "$tmp/guest.log" | sed -n 's/^FLASK //p'

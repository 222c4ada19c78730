#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# prepare.sh GUEST: fetches the guest once and boots it without a disk, so that a fault of the lab
# shows as one of the lab. GUEST is uml, umlk, qemu or xen. 77 where packages are missing or can't be fetched.
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"
case ${1-} in
uml) need_uml ;;
umlk) need_umlk ;;
qemu) need_qemu 6.1 ;;
# Its boots are long, and its first test starts with one.
xen) need_xen; exit ;;
*) echo "usage: prepare.sh uml|umlk|qemu|xen"; exit 2 ;;
esac
echo 'uname -a' >"$tmp/script"
boot "$1" --script "$tmp/script"
guest_ok
cat "$tmp/guest.log"

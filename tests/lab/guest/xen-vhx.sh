# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=dash disable=SC2034
# dom0: sourced by scripts that serve domUs from here, over Argo.
# shellcheck source=xen.sh
. /xen.sh

# driver_load: the Argo core and its device, which backends need.
driver_load() {
	for m in virtio_hmx hmx_argo; do
		insmod "/driver/$m.ko" || fail "insmod $m in dom0"
	done
	wait_for /dev/argo [ -c /dev/argo ]
}

driver_unload() {
	for m in hmx_argo virtio_hmx; do
		rmmod $m || fail "rmmod $m in dom0"
	done
}

# backend_start NAME DEVICE...: a backend whose peers come by vhxctl peer, or that listens to the words in $listen.
# $backend is its process.
backend_start() {
	name=$1 options=''
	shift
	for l in ${listen:-argo}; do
		options="$options --listen $l"
	done
	for d in "$@"; do
		options="$options --device $d"
	done
	rm -f "/tmp/$name.ctl"
	# shellcheck disable=SC2086 # split into words on purpose
	vhx-backend --control "/tmp/$name.ctl" $options >>"/tmp/$name.log" 2>&1 &
	backend=$!
	wait_for "backend $name" [ -S "/tmp/$name.ctl" ]
}

backend_end() {
	kill -TERM "$backend"
	wait "$backend" || fail "the backend's end"
}

peer() {
	vhxctl peer "$2" "/tmp/$1.ctl" "$3" || fail "vhxctl peer $2 $3"
}

# domu_driver NAME: loads the driver in a domU, whose backend is dom0.
domu_driver() {
	domu_do "$1" 'mount -t debugfs debugfs /sys/kernel/debug; insmod /driver/virtio_hmx.ko && insmod /driver/hmx_argo.ko' ||
		fail "the driver in $1"
}

# domu_disk NAME DISK: until it is there.
domu_disk() {
	domu_do "$1" "for i in \$(seq 1200); do [ -b /dev/$2 ] && exit 0; sleep 0.2; done; exit 1" ||
		fail "no $2 in $1"
}

# domu_count NAME OP: so many of its hypercalls were of this operation.
domu_count() {
	domu_do "$1" "cat /sys/kernel/debug/hmx_argo/hypercalls" | sed -n "s/\r//g; s/^$2 //p"
}

dom0_count() {
	sed -n "s/^$1 //p" /sys/kernel/debug/hmx_argo/hypercalls
}

# What the hypervisor and xenstore know: into /tmp/NAME.grants, .events (a line per domain: its number, its
# event channels, those that are VIRQ_ARGO), .store and .mappers (who has foreign memory mapped).
dump() {
	xl dmesg -c >/dev/null
	xl debug-keys ge
	# They come by a softirq of the hypervisor.
	sleep 1
	xl dmesg -c | sed 's/^(XEN) *\[[^]]*\]/(XEN)/' >/tmp/keys
	sed -n '/gnttab_usage_print_all \[/,/gnttab_usage_print_all \] done/p' /tmp/keys >"/tmp/$1.grants"
	awk '/Event channel information for domain/ { d = $NF; sub(":", "", d) }
		/: s=[1-9]/ { all[d]++; if (/: s=5 .* v=11( |$)/) argo[d]++ }
		END { for (d in all) print d, all[d], argo[d] + 0 }' /tmp/keys | sort -n >"/tmp/$1.events"
	xenstore-ls -f | sed 's/ = .*//' | sort >"/tmp/$1.store"
	grep -lE '/dev/xen/(privcmd|gntdev)|/proc/xen/privcmd' /proc/[0-9]*/maps 2>/dev/null |
		sed 's|/maps|/comm|' | xargs cat | sort >"/tmp/$1.mappers"
	for f in grants events store; do
		[ -s "/tmp/$1.$f" ] || fail "no dump of $f"
	done
}

# same WHAT BEFORE AFTER: of two dumps.
same() {
	diff "/tmp/$2.$1" "/tmp/$3.$1" >/tmp/diff || { cat /tmp/diff; fail "$1 differ"; }
}

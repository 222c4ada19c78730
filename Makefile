# SPDX-License-Identifier: BSD-3-Clause
# A thin front for meson and the test lab: every target is a line or two.
#   PREFIX, DESTDIR, BUILD (build directory), GUEST=uml|qemu|ivshmem for the demo, MESON_ARGS
BUILD ?= build
PREFIX ?= /usr/local
GUEST ?= uml
MESON_ARGS ?=
LAB := tests/lab

.PHONY: all setup check check-quick xen-check xen-demo demo bench torture install dist deb clean distclean help

all: $(BUILD)/build.ninja
	@ninja -C $(BUILD)

$(BUILD)/build.ninja:
	@$(LAB)/setup.sh build
	@meson setup $(BUILD) --prefix '$(PREFIX)' $(MESON_ARGS)

setup:
	@$(LAB)/setup.sh

check:
	@$(LAB)/check.sh

check-quick:
	@$(LAB)/check.sh --quick

# The tier of a real Xen with Argo alone.
xen-check:
	@$(LAB)/check.sh xen

xen-demo:
	@$(LAB)/xen-demo.sh

torture:
	@$(LAB)/check.sh --torture

demo:
	@GUEST=$(GUEST) $(LAB)/demo.sh

bench: all
ifeq ($(GUEST),ivshmem)
	@$(LAB)/setup.sh guest qemu kernel load
	@tests/bench/guest.sh $(BUILD)
else ifeq ($(GUEST),net)
	@$(LAB)/setup.sh guest qemu net
	@tests/bench/net.sh $(BUILD)
else
	@$(LAB)/setup.sh bench load
	@tests/bench/bench.sh $(BUILD)
endif

install: all
	@meson configure $(BUILD) --prefix '$(PREFIX)'
	@DESTDIR='$(DESTDIR)' meson install -C $(BUILD)

# What git has of this commit, as build/meson-dist/*.tar.xz with its checksum.
dist: all
	@meson dist -C $(BUILD) --no-tests --formats xztar

# Into build-deb/.
deb:
	@$(LAB)/setup.sh build deb
	@packaging/deb.sh build-deb

clean:
	rm -rf $(BUILD) $(BUILD)-*

# The downloaded guests and package lists as well.
distclean: clean
	rm -rf cache

help:
	@echo 'make              build into $(BUILD)/ (as root: installs missing packages first)'
	@echo 'make demo         a real guest on a disk whose backend sees none of its memory;'
	@echo '                  GUEST=qemu for a stock Debian kernel under QEMU,'
	@echo '                  GUEST=ivshmem for a Debian system that boots from such a disk'
	@echo 'make check        set-up, then all tests; the last line counts them'
	@echo 'make check-quick  build, unit, conformance and style tests, one guest'
	@echo 'make xen-check    the tests on a real Xen with Argo (built from source once)'
	@echo 'make xen-demo     PV and PVH guests of that Xen on disks of a backend in dom0'
	@echo 'make torture      the long variants of the guest tests'
	@echo 'make bench        side by side with shared-memory and NBD backends;'
	@echo '                  GUEST=ivshmem: in a guest, with virtio-blk-pci of QEMU'
	@echo '                  GUEST=net: networks of a guest, with virtio-net of QEMU'
	@echo 'make install      PREFIX=$(PREFIX) DESTDIR=$(DESTDIR)'
	@echo 'make dist         a source tarball in $(BUILD)/meson-dist'
	@echo 'make deb          Debian packages in build-deb'
	@echo 'make clean        remove build directories; distclean: the cache too'

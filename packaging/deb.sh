#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# deb.sh OUT: builds the Debian packages of this tree into the folder OUT, which is made. Needs dpkg-dev, debhelper,
# dh-dkms and the build dependencies of packaging/debian/control; no root.
set -eu
[ $# -eq 1 ] || { echo "usage: deb.sh OUT" >&2; exit 2; }
root=$(cd "$(dirname "$0")/.." && pwd)
mkdir -p "$1"
out=$(cd "$1" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# What is in the repository, as it is now; in a tarball there is nothing else than that.
copy_sources() {
	mkdir "$work/virtio-hmx"
	if git -C "$root" rev-parse --is-inside-work-tree >/dev/null 2>&1; then
		git -C "$root" ls-files -z --cached --others --exclude-standard |
			tar -C "$root" --null --ignore-failed-read -T - -cf - 2>/dev/null
	else
		tar -C "$root" --exclude='./build*' --exclude=./cache -cf - .
	fi | tar -C "$work/virtio-hmx" -xf -
}

copy_sources
cd "$work/virtio-hmx"
cp -r packaging/debian debian
# One version: that of meson.build.
version=$(sed -n "s/^\tversion: '\(.*\)',/\1/p" meson.build | head -n 1)
changed=$(dpkg-parsechangelog -S Version)
[ "$version" = "$changed" ] || { echo "packaging/debian/changelog is of $changed, meson.build of $version" >&2; exit 1; }
dpkg-buildpackage -b -us -uc -ui
cp ../*.deb ../*.changes ../*.buildinfo "$out"
ls "$out"/*.deb

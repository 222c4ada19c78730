#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# format.sh ROOT: what clang-format would change in C files. It reports; the style is the reviewer's,
# and tables are laid out by hand.
cd "$1" || exit 1
command -v clang-format >/dev/null || { echo "SKIP: package clang-format is missing"; exit 77; }
find src include tools tests -name '*.[ch]' | sort | while read -r f; do
	n=$(clang-format --output-replacements-xml "$f" | grep -c '<replacement ')
	[ "$n" -eq 0 ] || echo "$f: $n places"
done
echo "reported, not gated"

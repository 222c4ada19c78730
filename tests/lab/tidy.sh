#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# tidy.sh BUILD: clang-tidy over the C files of the build, by the checks of .clang-tidy.
set -u
build=$1
mapfile -t files < <(python3 - "$build" <<'PY'
import json, os, sys
build = sys.argv[1]
seen = set()
for entry in json.load(open(os.path.join(build, 'compile_commands.json'))):
    path = os.path.relpath(os.path.join(entry['directory'], entry['file']))
    if path.startswith(('src/', 'tools/')) and path not in seen:
        seen.add(path)
        print(path)
PY
)
[ ${#files[@]} -gt 0 ] || { echo "no source files"; exit 1; }
printf '%s\0' "${files[@]}" |
	xargs -0 -n 4 -P "$(nproc)" clang-tidy --quiet -p "$build" --warnings-as-errors='*' 2>&1 | grep -v ' warnings generated\.$'
exit "${PIPESTATUS[1]}"

#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""wire, ring and core do no I/O: checks what their objects need from outside.

symbols.py NM LIBRARY... -- HELPER...: every symbol that an object of a LIBRARY needs is defined in one of
them, is on the list below, or comes from an object of a HELPER (util), which then has to obey the same list.
"""
import re
import subprocess
import sys

ALLOWED = {
    'memcpy', 'memmove', 'memset', 'memcmp', 'strlen', 'strnlen', 'strcmp',
    '__assert_fail',
    # What compilers make of them with hardening switched on.
    '__memcpy_chk', '__memmove_chk', '__memset_chk', '__stack_chk_fail',
    '_GLOBAL_OFFSET_TABLE_',
}
HEAD = re.compile(r'^(?:.*[/\[(:])?([\w.-]+\.o)[\])]?:$')


def objects(nm, archive):
    """{object: (defined, needed)} of an archive."""
    text = subprocess.run([nm, '-g', archive], check=True, capture_output=True, text=True).stdout
    found, current = {}, None
    for line in text.splitlines():
        head = HEAD.match(line)
        if head:
            current = found.setdefault(archive + ':' + head.group(1), (set(), set()))
            continue
        parts = line.split()
        if len(parts) >= 2 and current:
            current[1 if parts[-2] in 'Uwv' else 0].add(parts[-1])
    return found


def collect(nm, archives):
    every = {}
    for archive in archives:
        every.update(objects(nm, archive))
    return every


def main(nm, libraries, helpers):
    pure, extra = collect(nm, libraries), collect(nm, helpers)
    assert pure, 'no objects found'
    home = {s: o for o, (defined, _) in extra.items() for s in defined}
    own = {s for defined, _ in pure.values() for s in defined}
    todo, seen, errors = list(pure), set(), []
    while todo:
        name = todo.pop()
        if name in seen:
            continue
        seen.add(name)
        for symbol in sorted((pure.get(name) or extra[name])[1]):
            if symbol in own or symbol in ALLOWED:
                continue
            if symbol in home:
                todo.append(home[symbol])
            else:
                errors.append('%s needs %s' % (name, symbol))
    print('\n'.join(sorted(errors)))
    print('%d objects, %d symbols that are not allowed' % (len(seen), len(errors)))
    return 1 if errors else 0


split = sys.argv.index('--')
sys.exit(main(sys.argv[1], sys.argv[2:split], sys.argv[split + 1:]))

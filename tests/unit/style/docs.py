#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""The numbers of docs/wire.md and docs/argo-streams.md are those of the code: the compiler compares them.

docs.py ROOT CC... A table whose first column is called "constant" has a name and its value per row; one whose
first column is called "`struct NAME`" has a member, its offset and its size.
"""
import os
import re
import subprocess
import sys

HEADERS = ('vhx/wire.h', 'vhx/virtio_msg.h', 'core/channel.h', 'core/driver.h', 'core/flight.h',
           'exchange/lane.h', 'exchange/local.h', 'exchange/section.h', 'vhx/section.h', 'vhx/argo.h',
           'vhx/argo_stream.h',
           'frontend/fdev.h', 'link/link.h', 'wire/control.h')
PAGES = ('wire.md', 'argo-streams.md')
NUMBER = re.compile(r'^(0x[0-9a-fA-F]+|[0-9]+)$')


def cells(line):
    return [c.strip().strip('`') for c in line.strip().strip('|').split('|')]


def checks(path):
    """C assertions for each row of the tables that are meant, with their line numbers."""
    kind = None
    with open(path, encoding='utf-8') as text:
        for number, line in enumerate(text, 1):
            if not line.startswith('|'):
                kind = None
                continue
            row = cells(line)
            if kind is None:
                kind = row[0]
            elif kind == 'constant' and not row[0].startswith('-'):
                assert NUMBER.match(row[1]), '%s:%d: no number' % (path, number)
                yield path, number, '%s == %s' % (row[0], row[1])
            elif kind.startswith('struct ') and not row[0].startswith('-'):
                yield path, number, 'offsetof(%s, %s) == %s' % (kind, row[0], row[1])
                yield path, number, 'sizeof(((%s *)0)->%s) == %s' % (kind, row[0], row[2])


def compile_all(root, compiler, assertions):
    flags = ['-std=gnu17', '-D_GNU_SOURCE', '-fsyntax-only', '-x', 'c', '-']
    for folder in ('src', 'include', 'include/uapi'):
        flags += ['-I', os.path.join(root, folder)]
    lines = ['#include <stddef.h>'] + ['#include "%s"' % h for h in HEADERS]
    for path, number, what in assertions:
        lines += ['#line %d "%s"' % (number, path), '_Static_assert(%s, "%s");' % (what, what)]
    done = subprocess.run(compiler + flags, input='\n'.join(lines) + '\n', capture_output=True,
                          text=True, check=False)
    return done.returncode == 0, done.stderr


def main(root, compiler):
    pages = [list(checks(os.path.join(root, 'docs', page))) for page in PAGES]
    found = [check for page in pages for check in page]
    # The rule must be able to refuse: the checker checks itself.
    assert not compile_all(root, compiler, [('', 1, 'VHX_MSG_HELLO == 2')])[0]
    good, errors = compile_all(root, compiler, found)
    print(errors)
    print('%d numbers compared, %s' % (len(found), 'all equal' if good else 'some differ'))
    return 0 if good and all(pages) else 1


sys.exit(main(sys.argv[1], sys.argv[2:]))

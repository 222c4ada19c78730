#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""libvhx says what it exports: header, symbol map and library name the same functions, and programs in
C11 and C++ can use every one of them with nothing but the header and the library.

linkage.py HEADER MAP LIBRARY NM CC... [-- CXX...]
"""
import os
import re
import subprocess
import sys
import tempfile

DECLARED = re.compile(r'^VHX_API\s[^;]*?\b(vhx_\w+)\(', re.M | re.S)
MAPPED = re.compile(r'^\t\t(\w+);$', re.M)


def read(path):
    with open(path, encoding='utf-8') as text:
        return text.read()


def exported(nm, library):
    out = subprocess.run([nm, '-D', '--defined-only', library], check=True, capture_output=True,
                         text=True).stdout
    names = (line.split() for line in out.splitlines())
    return {n[2].split('@')[0] for n in names if n[1] != 'A'}


def differ(what, one, other):
    for name in sorted(one ^ other):
        print('%s: %s is only on one side' % (what, name))
    return one != other


def program(names):
    uses = '\n'.join('\tp[%d] = (fn)%s;' % (i, n) for i, n in enumerate(names))
    return ('#include <vhx/vhx.h>\ntypedef void (*fn)(void);\nint main(void)\n{\n\tfn p[%d];\n%s\n'
            '\treturn p[0] ? vhx_version()[0] != \'0\' : 1;\n}\n' % (len(names), uses))


def runs(header, library, names, compiler, flags):
    folder = os.path.dirname(library)
    with tempfile.TemporaryDirectory() as scratch:
        source, binary = os.path.join(scratch, 'use.c'), os.path.join(scratch, 'use')
        with open(source, 'w', encoding='utf-8') as text:
            text.write(program(names))
        # The header's own folder, so that nothing of src/ can leak in.
        command = compiler + flags + ['-Wall', '-Wextra', '-Werror', '-pedantic-errors', '-I',
                                      os.path.dirname(os.path.dirname(header)), source, '-x', 'none', '-o', binary,
                                      library, '-Wl,-rpath,' + folder]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            print(done.stderr)
            return False
        return subprocess.run([binary], check=False).returncode == 0


def main(header, version_map, library, nm, compilers):
    split = compilers.index('--') if '--' in compilers else len(compilers)
    declared = DECLARED.findall(read(header))
    assert len(declared) > 10, 'the header was not understood'
    bad = len(declared) != len(set(declared))
    bad |= differ('header and map', set(declared), set(MAPPED.findall(read(version_map))))
    bad |= differ('header and library', set(declared), exported(nm, library))
    bad |= not runs(header, library, declared, compilers[:split], ['-std=c11', '-x', 'c'])
    if compilers[split + 1:]:
        flags = ['-std=c++11', '-x', 'c++']
        bad |= not runs(header, library, declared, compilers[split + 1:], flags)
    print('%d functions' % len(declared))
    return 1 if bad else 0


sys.exit(main(*sys.argv[1:5], sys.argv[5:]))

#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""A library says what it exports: headers, symbol map and library name the same functions, and programs in
C11 and C++ can use every one of them with nothing but its header and the library.

linkage.py HEADER[,HEADER...] MAP LIBRARY NM CC... [-- CXX...]
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


def program(header, names, version):
    uses = '\n'.join('\tp[%d] = (fn)%s;' % (i, n) for i, n in enumerate(names))
    return ('#include <vhx/%s>\ntypedef void (*fn)(void);\nint main(void)\n{\n\tfn p[%d];\n%s\n'
            '\treturn p[0] ? %s()[0] != \'0\' : 1;\n}\n' % (os.path.basename(header), len(names), uses, version))


def runs(header, library, names, version, compiler, flags):
    folder = os.path.dirname(library)
    with tempfile.TemporaryDirectory() as scratch:
        source, binary = os.path.join(scratch, 'use.c'), os.path.join(scratch, 'use')
        with open(source, 'w', encoding='utf-8') as text:
            text.write(program(header, names, version))
        # The header's own folder, so that nothing of src/ can leak in.
        command = compiler + flags + ['-Wall', '-Wextra', '-Werror', '-pedantic-errors', '-I',
                                      os.path.dirname(os.path.dirname(header)), source, '-x', 'none', '-o', binary,
                                      library, '-Wl,-rpath,' + folder]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            print(done.stderr)
            return False
        return subprocess.run([binary], check=False).returncode == 0


def main(headers, version_map, library, nm, compilers):
    split = compilers.index('--') if '--' in compilers else len(compilers)
    declared = {h: DECLARED.findall(read(h)) for h in headers.split(',')}
    assert min(map(len, declared.values()), default=0) > 10, 'the headers were not understood'
    every = [name for names in declared.values() for name in names]
    version = next(n for n in every if n.endswith('_version'))
    bad = len(every) != len(set(every))
    bad |= differ('header and map', set(every), set(MAPPED.findall(read(version_map))))
    bad |= differ('header and library', set(every), exported(nm, library))
    for header, names in declared.items():
        bad |= not runs(header, library, names, version, compilers[:split], ['-std=c11', '-x', 'c'])
        if compilers[split + 1:]:
            flags = ['-std=c++11', '-x', 'c++']
            bad |= not runs(header, library, names, version, compilers[split + 1:], flags)
    print('%d functions' % len(every))
    return 1 if bad else 0


sys.exit(main(*sys.argv[1:5], sys.argv[5:]))

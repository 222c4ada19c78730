#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Every header stands alone: each compiles as the only include of a file.

headers.py ROOT CC...
"""
import os
import subprocess
import sys


def headers(root):
    for top in ('src', 'include'):
        for folder, _, names in os.walk(os.path.join(root, top)):
            for name in sorted(names):
                if name.endswith('.h'):
                    yield os.path.join(folder, name)


def compiles(root, compiler, header):
    flags = ['-std=gnu17', '-D_GNU_SOURCE', '-Wall', '-Werror', '-fsyntax-only', '-x', 'c', '-']
    for folder in ('src', 'include', 'include/uapi'):
        flags += ['-I', os.path.join(root, folder)]
    text = '#include "%s"\n' % header
    done = subprocess.run(compiler + flags, input=text, capture_output=True, text=True, check=False)
    if done.returncode:
        print(done.stderr)
    return done.returncode == 0


def main(root, compiler):
    every = list(headers(root))
    bad = [h for h in every if not compiles(root, compiler, h)]
    print('%d headers, %d do not stand alone' % (len(every), len(bad)))
    return 1 if bad or not every else 0


sys.exit(main(sys.argv[1], sys.argv[2:]))

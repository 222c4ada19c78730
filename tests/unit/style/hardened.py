#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""hardened.py READELF PROGRAM...: each is position independent, has all relocations read-only before main, and no
executable stack, and its functions guard theirs.
"""
import subprocess
import sys

WANTED = (
    ('-h', 'Type: DYN', 'position independent'),
    ('-l', 'GNU_RELRO', 'relocations are made read-only'),
    ('-d', 'BIND_NOW', 'all of them, at start'),
    ('-s', '__stack_chk_fail', 'stack protector'),
)


def output(readelf, option, program):
    text = subprocess.run([readelf, '-W', option, program], capture_output=True, text=True,
                          check=True).stdout
    return [' '.join(line.split()) for line in text.split('\n')]


def check(readelf, program):
    for option, what, why in WANTED:
        if not any(what in line for line in output(readelf, option, program)):
            yield '%s: no %s (%s)' % (program, what, why)
    for line in output(readelf, '-l', program):
        if line.startswith('GNU_STACK') and 'E' in line.split()[6]:
            yield '%s: the stack is executable' % program


def main(readelf, programs):
    errors = [e for p in programs for e in check(readelf, p)]
    print('\n'.join(errors))
    print('%d programs, %d lack something' % (len(programs), len(errors)))
    return 1 if errors or not programs else 0


sys.exit(main(sys.argv[1], sys.argv[2:]))

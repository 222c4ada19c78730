#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""functions.py ROOT: lengths of functions. Long ones are reported; only the median is gated.

Kernel style makes it simple: a body begins with "{" and ends with "}" in the first column.
"""
import os
import re
import statistics
import sys

LONG = 80
MEDIAN_MAX = 20
NAME = re.compile(r'([A-Za-z_]\w*)\s*\(')


def functions(path):
    with open(path, encoding='utf-8') as text:
        lines = text.read().split('\n')
    start = None
    for number, line in enumerate(lines):
        if line == '{':
            start = number
        elif line == '}' and start is not None:
            head = next((lines[i] for i in range(start - 1, -1, -1) if lines[i][:1].strip()), '')
            name = NAME.search(head)
            yield (name.group(1) if name else '?'), start + 1, number - start - 1
            start = None


def main(root):
    lengths = []
    for top in ('src', 'tools'):
        for folder, _, names in os.walk(os.path.join(root, top)):
            for name in sorted(n for n in names if n.endswith('.c')):
                path = os.path.join(folder, name)
                for function, line, length in functions(path):
                    lengths.append(length)
                    if length > LONG:
                        print('%s:%d: %s has %d lines'
                              % (os.path.relpath(path, root), line, function, length))
    lengths.sort()
    median = statistics.median(lengths)
    print('%d functions, median %g, 90%% up to %d, longest %d'
          % (len(lengths), median, lengths[len(lengths) * 9 // 10], lengths[-1]))
    return 1 if median > MEDIAN_MAX else 0


sys.exit(main(sys.argv[1]))

#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Every source file says its licence, in the form of its language, where readers look for it.

files.py ROOT. Also: no line above the column limit in C, no trailing blanks, no conflict markers.
"""
import os
import re
import sys

TOPS = ('src', 'include', 'tools', 'tests', 'drivers', 'examples', 'packaging', '.ci', 'man')
SINGLE = ('Makefile', 'meson.build', '.clang-format', '.clang-tidy', '.shellcheckrc')
LICENCES = {
    'include/uapi': '(GPL-2.0 WITH Linux-syscall-note) OR BSD-3-Clause',
    'drivers/linux': 'GPL-2.0-only OR BSD-3-Clause',
    'tests/lab/argo_raw': 'GPL-2.0-only OR BSD-3-Clause',
    '': 'BSD-3-Clause',
}
# In the order of the first match.
FORMS = (
    (re.compile(r'\.c$'), '// SPDX-License-Identifier: %s'),
    (re.compile(r'\.h$'), '/* SPDX-License-Identifier: %s */'),
    (re.compile(r'\.(sh|py)$|(^|/)(meson\.build|Makefile|Kbuild|init|\.clang-\w+|\.shellcheckrc|run)$'),
     '# SPDX-License-Identifier: %s'),
)
# Code has 100 columns (clang-format); tables laid out by hand may pass them, but not without end.
COLUMNS = 128


def sources(root):
    for name in SINGLE:
        yield name
    for top in TOPS:
        for folder, _, names in os.walk(os.path.join(root, top)):
            for name in sorted(names):
                yield os.path.relpath(os.path.join(folder, name), root)


def licence(path):
    return next(value for prefix, value in LICENCES.items() if path.startswith(prefix))


def check(root, path):
    form = next((f for pattern, f in FORMS if pattern.search(path)), None)
    if not form:
        return []
    with open(os.path.join(root, path), encoding='utf-8') as text:
        lines = text.read().split('\n')
    errors = []
    first = 1 if lines[0].startswith('#!') else 0
    wanted = form % licence(path)
    if lines[first:first + 1] != [wanted]:
        errors.append('%s:%d: the line must be: %s' % (path, first + 1, wanted))
    for number, line in enumerate(lines, 1):
        if line != line.rstrip():
            errors.append('%s:%d: trailing blanks' % (path, number))
        if line.startswith(('<<<<<<< ', '>>>>>>> ')):
            errors.append('%s:%d: conflict marker' % (path, number))
        if path.endswith(('.c', '.h')) and len(line.expandtabs(8)) > COLUMNS:
            errors.append('%s:%d: longer than %d columns' % (path, number, COLUMNS))
    return errors


def main(root):
    paths = [p for p in sources(root) if os.path.isfile(os.path.join(root, p))]
    errors = [e for p in paths for e in check(root, p)]
    print('\n'.join(errors))
    print('%d files, %d errors' % (len(paths), len(errors)))
    return 1 if errors or not paths else 0


sys.exit(main(sys.argv[1]))

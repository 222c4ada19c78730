#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""A folder is a layer and arrows go one way: checks every include of src/ and tools/.

includes.py ROOT. A layer may include itself, what its arrow names, and what those may include.
"""
import os
import re
import sys

BOTH_ENDS = {'core', 'ring', 'exchange', 'loop', 'link'}
ARROWS = {
    'util': set(),
    'wire': {'util'},
    'ring': {'util'},
    'exchange': {'util'},
    'loop': {'util'},
    'core': {'wire'},
    'link': {'core', 'exchange', 'loop'},
    'argo': {'exchange'},
    'relay': {'util'},
    'frontend': BOTH_ENDS,
    'backend': BOTH_ENDS,
    'embed': {'frontend', 'backend'},
    'vhost_user': {'ring'},
    'vduse': {'ring'},
    'device': {'backend', 'vhost_user'},
    'config': {'util'},
    'confine': {'util'},
    'mediator': {'frontend', 'device', 'vhost_user', 'vduse', 'config', 'confine'},
    'ctl': {'config'},
    'tools': {'mediator', 'ctl', 'relay'},
}
# include/vhx and include/uapi/vhx: everybody's.
SHARED = {'vhx'}
INCLUDE = re.compile(r'^\s*#\s*include\s*"([^"]+)"')


def closure(layer):
    seen, todo = set(), [layer]
    while todo:
        for below in ARROWS[todo.pop()]:
            if below not in seen:
                seen.add(below)
                todo.append(below)
    return seen


def sources(root):
    for top in ('src', 'tools'):
        for folder, _, names in os.walk(os.path.join(root, top)):
            for name in sorted(names):
                if name.endswith(('.c', '.h')):
                    yield os.path.relpath(os.path.join(folder, name), root)


def layer_of(path):
    parts = path.split(os.sep)
    return 'tools' if parts[0] == 'tools' else parts[1]


def judge(layer, allowed, header):
    if '/' not in header:
        return 'does not name its layer'
    target = header.split('/')[0]
    if target in SHARED or target == layer or target in allowed:
        return None
    if target not in ARROWS:
        return 'is of no known layer'
    return 'goes against the arrows'


def check(root, path):
    layer = layer_of(path)
    if layer not in ARROWS:
        return ['%s: folder %s is no layer; add its arrow' % (path, layer)]
    allowed, errors = closure(layer), []
    with open(os.path.join(root, path), encoding='utf-8') as text:
        for number, line in enumerate(text, 1):
            found = INCLUDE.match(line)
            why = found and judge(layer, allowed, found.group(1))
            if why:
                errors.append('%s:%d: "%s" %s' % (path, number, found.group(1), why))
    return errors


def main(root):
    for layer in ARROWS:
        assert layer not in closure(layer), 'the arrows form a cycle at ' + layer
    # The rule must be able to refuse: the checker checks itself.
    assert judge('ring', closure('ring'), 'exchange/exchange.h')
    assert judge('core', closure('core'), 'core.h')
    assert not judge('device', closure('device'), 'loop/loop.h')
    paths = list(sources(root))
    errors = [e for p in paths for e in check(root, p)]
    print('\n'.join(errors))
    print('%d files, %d includes against the arrows' % (len(paths), len(errors)))
    return 1 if errors or not paths else 0


sys.exit(main(sys.argv[1]))

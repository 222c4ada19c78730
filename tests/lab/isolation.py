#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""isolation.py VM FRONTEND BACKEND (process ids): who can see the guest's memory?
isolation.py --window VM HELPER BACKEND: the same where a guest shares a window and nothing else.

The guest's memory is the file of the virtual machine's largest shared mapping. The frontend must map it
(else this test would prove nothing), the backend must neither map it nor hold it open, nor any other file
that the virtual machine maps shared.

With a window, that is all that the virtual machine may map shared: its memory is nobody else's.
"""
import os
import sys


def mappings(pid):
    """{(device, inode): bytes} of shared mappings of files."""
    sizes = {}
    with open('/proc/%d/maps' % pid, encoding='utf-8') as maps:
        for line in maps:
            span, mode, _, device, inode = line.split()[:5]
            if mode[3] != 's' or inode == '0':
                continue
            low, high = (int(x, 16) for x in span.split('-'))
            major, minor = (int(x, 16) for x in device.split(':'))
            key = (os.makedev(major, minor), int(inode))
            sizes[key] = sizes.get(key, 0) + high - low
    return sizes


def descriptors(pid):
    found = set()
    folder = '/proc/%d/fd' % pid
    for name in os.listdir(folder):
        try:
            st = os.stat(os.path.join(folder, name))
        except OSError:
            continue
        found.add((st.st_dev, st.st_ino))
    return found


def main(vm, frontend, backend):
    guest = mappings(vm)
    if not guest:
        print('isolation: the virtual machine has no shared memory at all')
        return 1
    memory = max(guest, key=guest.get)
    seen = mappings(frontend).get(memory, 0)
    if not seen:
        print('isolation: the frontend does not map the guest memory: nothing to compare with')
        return 1
    theirs = set(mappings(backend)) | descriptors(backend)
    leaks = theirs & set(guest)
    if leaks:
        print('isolation: BROKEN, the backend holds %d files of the guest\'s memory' % len(leaks))
        return 1
    print('isolation: guest memory (inode %d) is mapped by the frontend (pid %d), and neither '
          'mapped nor open in the backend (pid %d)' % (memory[1], frontend, backend))
    return 0


def window(vm, helper, backend):
    shared = set(mappings(vm))
    owned = set(mappings(helper))
    if not shared or shared != owned & shared or len(shared) != 1:
        print('isolation: BROKEN, the virtual machine shares %d files, of which the helper has %d'
              % (len(shared), len(shared & owned)))
        return 1
    if not shared & set(mappings(backend)):
        print('isolation: the backend does not map the window: nothing to compare with')
        return 1
    size = sum(mappings(vm).values())
    print('isolation: of its memory the virtual machine shares a window of %d KiB (inode %d) and no '
          'more' % (size >> 10, shared.pop()[1]))
    return 0


if sys.argv[1] == '--window':
    sys.exit(window(*(int(a) for a in sys.argv[2:5])))
sys.exit(main(*(int(a) for a in sys.argv[1:4])))

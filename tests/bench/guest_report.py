#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""guest_report.py FILE: the tables of guest.sh from the lines of its guest."""
import sys

from ratios import compare, table

WANTED = 0.5
PER_REQUEST = (('messages', 'data_messages'), ('sends', 'sends'), ('bells', 'wakes_sent'), ('irqs', 'wakes_taken'),
               ('notifies', 'queue0_notifies'), ('credits', 'credits_sent'), ('copied', 'queue0_bytes_copied'),
               ('in place', 'queue0_bytes_by_ref'))


def read(path):
    iops, counts = {}, {}
    with open(path, encoding='utf-8') as lines:
        for line in lines:
            words = line.split()
            if words[0] == 'BENCH':
                iops.setdefault(words[1], {}).setdefault(words[2], []).append(float(words[3]))
            else:
                names, values = words[2::2], words[3::2]
                total = counts.setdefault(words[1], {})
                for name, value in zip(names, values):
                    total[name] = total.get(name, 0) + int(value)
    return iops, counts


def main(path):
    iops, counts = read(path)
    summary = compare(iops, ['I/Os per second', 'ivshmem', 'virtio-blk-pci'], WANTED)
    print()
    rows = [['per request'] + [name for name, _ in PER_REQUEST]]
    for point, count in counts.items():
        chains = max(count['queue0_chains'], 1)
        rows.append([point] + ['%.2f' % (count[key] / chains) for _, key in PER_REQUEST])
    table(rows)
    print()
    print(summary)


if __name__ == '__main__':
    main(sys.argv[1])

#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""net_report.py FILE: the tables of net.sh from its lines: NET END ENGINE WAY MBIT BYTES COUNT..."""
import sys

from ratios import compare, table

WANTED = 0.8
COUNTS = ('packets', 'messages out', 'messages in', 'sends', 'wakes')


def read(path):
    speed, counts = {}, {}
    with open(path, encoding='utf-8') as lines:
        for line in lines:
            _, end, engine, way, mbit, size, *rest = line.split()
            point = end + ' ' + way
            speed.setdefault(point, {}).setdefault(engine, []).append(float(mbit))
            if engine == 'hmx':
                total = counts.setdefault(point, [0] * (len(COUNTS) + 1))
                for i, value in enumerate([size] + rest):
                    total[i] += int(value)
    return speed, counts


def main(path):
    speed, counts = read(path)
    summary = compare(speed, ['Mbit/s', 'virtio-hmx', "QEMU's own"], WANTED)
    print()
    rows = [['per packet', 'bytes'] + list(COUNTS[1:])]
    for point, total in counts.items():
        packets = max(total[1], 1)
        rows.append([point, '%.0f' % (total[0] / packets)] + ['%.2f' % (v / packets) for v in total[2:]])
    table(rows)
    print()
    print(summary)


if __name__ == '__main__':
    main(sys.argv[1])

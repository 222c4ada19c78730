#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""net_report.py FILE: the tables of net.sh from its lines: NET END ENGINE WAY MBIT BYTES COUNT..."""
import statistics
import sys

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


def table(rows):
    widths = [max(len(r[i]) for r in rows) for i in range(len(rows[0]))]
    for row in rows:
        print('  '.join(c.rjust(w) if i else c.ljust(w) for i, (c, w) in enumerate(zip(row, widths))))


def main(path):
    speed, counts = read(path)
    rows = [['Mbit/s', 'virtio-hmx', "QEMU's own", 'ratio', 'least', 'most', 'wanted']]
    short = 0
    for point, engines in speed.items():
        single = [a / b for a, b in zip(engines['hmx'], engines['qemu'])]
        hmx, qemu = statistics.median(engines['hmx']), statistics.median(engines['qemu'])
        short += hmx / qemu < WANTED
        rows.append([point, '%.0f' % hmx, '%.0f' % qemu, '%.2f' % (hmx / qemu), '%.2f' % min(single),
                     '%.2f' % max(single), '%.1f%s' % (WANTED, '' if hmx / qemu >= WANTED else ' missed')])
    table(rows)
    print()
    rows = [['per packet', 'bytes'] + list(COUNTS[1:])]
    for point, total in counts.items():
        packets = max(total[1], 1)
        rows.append([point, '%.0f' % (total[0] / packets)] + ['%.2f' % (v / packets) for v in total[2:]])
    table(rows)
    print()
    print('%d of %d ratios are below %.1f' % (short, len(speed), WANTED))


if __name__ == '__main__':
    main(sys.argv[1])

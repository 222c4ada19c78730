#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""report.py FILE: the tables of bench.sh from its raw lines."""
import json
import statistics
import sys

NAMES = {
    'a': 'qemu-storage-daemon, vhost-user', 'b1': 'libvhx', 'b1s': 'libvhx, no polling',
    'b2': 'vhx-frontend, vhost-user',
    'c': 'qemu-storage-daemon, NBD', 'c2': 'nbdkit, NBD',
}
# numerator, denominator, {points: wanted}
TO_A = {'4k-read-1': 0.5, '4k-write-1': 0.5, '4k-read-32': 2, '4k-write-32': 2,
        '128k-read-16': 0.8, '128k-write-16': 0.8}
TO_C = {'4k-read-32': 8, '4k-write-32': 8}
RATIOS = (('b1', 'a', TO_A), ('b1s', 'a', TO_A), ('b2', 'a', TO_A), ('b1', 'c', TO_C),
          ('b1s', 'c', TO_C), ('b1', 'c2', {}))
COLUMNS = (('IOPS', 'iops', '%.0f'), ('MB/s', 'mbs', '%.0f'), ('p50 us', 'p50_us', '%.0f'),
           ('p99 us', 'p99_us', '%.0f'), ('CPU us', 'cpu_us', '%.2f'))


def ordered(values):
    return list(dict.fromkeys(values))


class Results:
    def __init__(self, lines):
        self.samples = {}
        for line in lines:
            if 'engine' in line:
                self.samples.setdefault((line['point'], line['engine']), []).append(line)
        self.points = ordered(p for p, _ in self.samples)
        self.engines = [e for e in NAMES if any(k[1] == e for k in self.samples)]

    def values(self, point, engine, key):
        return [s['load'][key] for s in self.samples.get((point, engine), [])]

    def median(self, point, engine, key):
        values = self.values(point, engine, key)
        return statistics.median(values) if values else None

    def per_request(self, point, engine):
        """Sends and wakes of the exchange, or None."""
        sends, wakes = [], []
        for s in self.samples.get((point, engine), []):
            if engine in ('b1', 'b1s'):
                sends.append(s['load']['sends'])
                wakes.append(s['load']['wakes'])
            elif s['frontend']:
                channel = s['frontend']['channels'][0]
                done = max(s['frontend']['devices'][0]['completed'], 1)
                sends.append((channel['tx_messages'] + channel['rx_messages']) / done)
                wakes.append((channel['wakes_sent'] + channel['wakes_taken']) / done)
        return (statistics.median(sends), statistics.median(wakes)) if sends else None


def table(rows):
    rows = [r + ['-'] * (len(rows[0]) - len(r)) for r in rows]
    widths = [max(len(r[i]) for r in rows) for i in range(len(rows[0]))]
    for r in rows:
        print('  ' + '  '.join(c.ljust(w) if i < 2 else c.rjust(w)
                               for i, (c, w) in enumerate(zip(r, widths))).rstrip())
    print()


def figures(results):
    print('Medians. CPU: of client and servers together, per request; sends and wakes: of the exchange,\n'
          'both ways, per request; notified: eventfds written and read by a vhost-user client.')
    rows = [['point', ''] + [c[0] for c in COLUMNS] + ['sends', 'wakes', 'notified']]
    for point in results.points:
        for engine in results.engines:
            cells = [point, engine]
            for _, key, form in COLUMNS:
                value = results.median(point, engine, key)
                cells.append('-' if value is None else form % value)
            counts = results.per_request(point, engine)
            cells += ['%.3f' % c for c in counts] if counts else ['-', '-']
            cells.append('%.3f' % results.median(point, engine, 'wakes') if engine in ('a', 'b2') else '-')
            rows.append(cells)
    table(rows)


def spread(results, point, one, other, key):
    """Ratio of the medians, and the least and largest of single rounds."""
    pairs = list(zip(results.values(point, one, key), results.values(point, other, key)))
    each = [x / y for x, y in pairs if y]
    if not each:
        return None
    return (results.median(point, one, key) / results.median(point, other, key), min(each), max(each))


def ratios(results):
    print('Ratios of IOPS: of the medians, and between which the rounds lay; of CPU time per request.')
    rows = [['point', 'ratio', 'IOPS', 'from', 'to', 'CPU', 'wanted']]
    for one, other, wanted in RATIOS:
        for point in results.points:
            iops = spread(results, point, one, other, 'iops')
            cpu = spread(results, point, one, other, 'cpu_us')
            if not iops or not cpu:
                continue
            goal = wanted.get(point)
            rows.append([point, one + '/' + other] + ['%.2f' % v for v in iops] + ['%.2f' % cpu[0]]
                        + ['%g%s' % (goal, '' if iops[0] >= goal else '  missed') if goal else ''])
    table(rows)


def scale(s):
    print('This machine in the same run, for scale.')
    print('  memcpy GB/s: ' + ', '.join('%s %.1f' % i for i in s['memcpy_gbs'].items()))
    print('  wake us, one way by eventfd: ' + ', '.join('%s %.1f' % i for i in s['wake_us'].items()))
    print('  the exchange alone, one way, messages/s (GB/s):')
    rows = [['provider', ''] + [str(x['size']) for x in next(iter(s['exchange'].values()))]]
    for name, points in s['exchange'].items():
        rows.append([name, ''] + ['%.0fk (%.2f)' % (x['per_s'] / 1000, x['gbs']) for x in points])
    table(rows)


def main(path):
    with open(path, encoding='utf-8') as text:
        lines = [json.loads(line) for line in text]
    results = Results(lines)
    print('  '.join('%s: %s' % (e, NAMES[e]) for e in results.engines) + '\n')
    figures(results)
    ratios(results)
    for line in lines:
        if 'scale' in line:
            scale(line['scale'])
    print('load average before and after: '
          + ' | '.join(line['loadavg'] for line in lines if 'loadavg' in line))
    return 0


sys.exit(main(sys.argv[1]))

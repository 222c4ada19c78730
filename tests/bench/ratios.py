# SPDX-License-Identifier: BSD-3-Clause
"""Tables of what virtio-hmx does against QEMU's own devices."""
import statistics


def table(rows):
    widths = [max(len(r[i]) for r in rows) for i in range(len(rows[0]))]
    for row in rows:
        print('  '.join(c.rjust(w) if i else c.ljust(w) for i, (c, w) in enumerate(zip(row, widths))))


def compare(points, head, wanted):
    """Prints the medians of {point: {'hmx': [rate...], 'qemu': [rate...]}} and their ratios; says how many fall short."""
    rows = [head + ['ratio', 'least', 'most', 'wanted']]
    short = 0
    for point, engines in points.items():
        single = [a / b for a, b in zip(engines['hmx'], engines['qemu'])]
        hmx, qemu = statistics.median(engines['hmx']), statistics.median(engines['qemu'])
        short += hmx / qemu < wanted
        rows.append([point, '%.0f' % hmx, '%.0f' % qemu, '%.2f' % (hmx / qemu), '%.2f' % min(single),
                     '%.2f' % max(single), '%.1f%s' % (wanted, '' if hmx / qemu >= wanted else ' missed')])
    table(rows)
    return '%d of %d ratios are below %.1f' % (short, len(points), wanted)

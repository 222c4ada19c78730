#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""table.py FRONTEND.json BACKEND.json: the counters of both programs as a short table."""
import json
import sys


def total(stats, group, *names):
    return sum(entry.get(name, 0) for entry in stats.get(group, []) for name in names)


def mib(count):
    return '%.1f MiB' % (count / (1 << 20))


def rows(fe, be):
    requests = total(fe, 'devices', 'completed')
    per = max(requests, 1)
    sends = total(fe, 'channels', 'sends') + total(be, 'channels', 'sends')
    wakes = total(fe, 'channels', 'wakes_sent') + total(be, 'channels', 'wakes_sent')
    yield 'requests', requests
    yield 'messages to the backend', total(fe, 'channels', 'tx_messages')
    yield 'messages to the frontend', total(fe, 'channels', 'rx_messages')
    yield 'payload of the guest', mib(total(fe, 'devices', 'bytes_out', 'bytes_in'))
    yield 'bytes copied, frontend', mib(total(fe, 'devices', 'bytes_copied'))
    yield 'bytes copied, backend', mib(total(be, 'devices', 'bytes_copied'))
    yield 'sends per request', '%.3f' % (sends / per)
    yield 'wakes per request', '%.3f' % (wakes / per)
    yield 'memory, both programs', mib(fe.get('memory', 0) + be.get('memory', 0))


def main(frontend, backend):
    with open(frontend, encoding='utf-8') as f, open(backend, encoding='utf-8') as b:
        fe, be = json.load(f), json.load(b)
    for name, value in rows(fe, be):
        print('  %-26s %14s' % (name, value))
    if not total(fe, 'devices', 'completed'):
        print('table: no request was counted')
        return 1
    return 0


sys.exit(main(*sys.argv[1:3]))

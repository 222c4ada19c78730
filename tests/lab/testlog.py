#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""testlog.py TESTLOG.json LOGDIR LABEL: meson's results as lines of name, status, seconds.

Each test's output goes to LOGDIR/LABEL-NAME.log. Status: 0 passed, 77 skipped, else failed.
"""
import json
import sys

STATUS = {'OK': 0, 'EXPECTEDFAIL': 0, 'SKIP': 77}


def main(path, logdir, label):
    with open(path, encoding='utf-8') as log:
        for line in log:
            test = json.loads(line)
            name = test['name'].split(' / ')[-1].split(':')[-1]
            status = STATUS.get(test['result'], 1)
            file = '%s/%s-%s.log' % (logdir, label, name.replace('/', '_'))
            with open(file, 'w', encoding='utf-8') as out:
                out.write(test.get('stdout') or '')
                out.write(test.get('stderr') or '')
                if status == 1:
                    out.write('meson: %s\n' % test['result'])
            print('%s\t%d\t%d' % (name, status, test['duration']))


main(*sys.argv[1:])

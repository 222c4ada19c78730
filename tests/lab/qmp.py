#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""One command for a QEMU that qemu.sh started with --monitor.

qmp.py SOCKET COMMAND [NAME=VALUE | NAME:=JSON]... [--wait EVENT]: prints the answer as JSON; with --wait, returns
when the event has come after it. Exit status 1 when QEMU refuses.
"""
import json
import socket
import sys


class Monitor:
    def __init__(self, path):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(300)
        self.sock.connect(path)
        self.lines = self.sock.makefile('rw')
        self.events = []
        self.read()
        self.command('qmp_capabilities')

    def read(self):
        line = self.lines.readline()
        if not line:
            raise SystemExit('qmp: QEMU has closed the monitor')
        message = json.loads(line)
        if 'event' in message:
            self.events.append(message['event'])
        return message

    def command(self, name, **arguments):
        json.dump({'execute': name, 'arguments': arguments}, self.lines)
        self.lines.write('\n')
        self.lines.flush()
        while True:
            message = self.read()
            if 'error' in message:
                raise SystemExit('qmp: %s: %s' % (name, message['error']['desc']))
            if 'return' in message:
                return message['return']

    def wait(self, event):
        while event not in self.events:
            self.read()


def argument(word):
    name, value = word.split('=', 1)
    return (name[:-1], json.loads(value)) if name.endswith(':') else (name, value)


def main(path, name, *words):
    event = None
    if '--wait' in words:
        at = words.index('--wait')
        event = words[at + 1]
        words = words[:at] + words[at + 2:]
    monitor = Monitor(path)
    print(json.dumps(monitor.command(name, **dict(argument(w) for w in words))))
    if event:
        monitor.wait(event)


if __name__ == '__main__':
    if len(sys.argv) < 3:
        raise SystemExit(__doc__)
    main(*sys.argv[1:])

#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""The host's side of a guest's console ports, for the tests.

console.py transfer SOCKET FILE OUT   sends FILE, then reads as many bytes into OUT
console.py read SOCKET COUNT OUT      reads COUNT bytes into OUT
console.py shell PTY LINE ANSWER      types LINE until a line of the output ends with ANSWER
"""
import os
import select
import socket
import sys
import time


def connect(path):
    while True:
        s = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            s.connect(path)
            return s
        except OSError:
            s.close()
            time.sleep(0.05)


def receive(s, count, out):
    with open(out, 'wb') as f:
        while count:
            got = s.recv(min(count, 65536))
            if not got:
                return 1
            f.write(got)
            count -= len(got)
    return 0


def transfer(path, source, out):
    with open(source, 'rb') as f:
        data = f.read()
    s = connect(path)
    s.sendall(data)
    return receive(s, len(data), out)


def read(path, count, out):
    return receive(connect(path), int(count), out)


def shell(path, line, answer):
    while not os.path.exists(path):
        time.sleep(0.05)
    fd = os.open(path, os.O_RDWR | os.O_NOCTTY)
    seen = b''
    os.write(fd, line.encode() + b'\n')
    while answer:
        ready, _, _ = select.select([fd], [], [], 5)
        # The shell, or the other backend, may not have been there yet.
        if not ready:
            os.write(fd, b'\n' + line.encode() + b'\n')
            continue
        seen += os.read(fd, 4096)
        if any(s.strip() == answer.encode() for s in seen.replace(b'\r', b'\n').split(b'\n')):
            break
    os.close(fd)
    return 0


sys.exit({'transfer': transfer, 'read': read, 'shell': shell}[sys.argv[1]](*sys.argv[2:]))

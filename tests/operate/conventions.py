#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""conventions.py DESCRIPTION FRONTEND LOAD: what QEMU's vhost-user document asks of a program ("Backend program
conventions"), done as a management application does: find the description, ask for capabilities, start it.
"""
import json
import os
import socket
import struct
import subprocess
import sys
import tempfile
import time

DESCRIPTION, FRONTEND, LOAD = [os.path.abspath(a) for a in sys.argv[1:4]]
GUARD_S = 60
GET_FEATURES = 1


def check(what, good):
    if not good:
        raise SystemExit('FAIL: %s' % what)


def run(*command):
    return subprocess.run(command, capture_output=True, text=True, timeout=GUARD_S, check=False)


def described():
    with open(DESCRIPTION, encoding='utf-8') as text:
        description = json.load(text)
    check('description: %s' % description, description['type'] == 'block' and description['description'])
    check('binary: %s' % description, os.path.isabs(description['binary']) and
          os.path.basename(description['binary']) == os.path.basename(FRONTEND))
    # "Other options and arguments should be ignored."
    done = run(FRONTEND, '--nonsense', '--print-capabilities', 'more')
    check('capabilities: ' + done.stdout + done.stderr, done.returncode == 0)
    capabilities = json.loads(done.stdout)
    check('capabilities: %s' % capabilities, capabilities == {'type': 'block', 'features': ['read-only', 'blk-file']})


def wait_listening(path):
    end = time.monotonic() + GUARD_S
    while True:
        try:
            with socket.socket(socket.AF_UNIX) as probe:
                probe.connect(path)
            return
        except OSError:
            check('nobody listens on %s' % path, time.monotonic() < end)
            time.sleep(0.02)


def load(path, *options):
    return run(LOAD, '--engine', 'vhost-user', '--target', path, '--run-ms', '100', '--area', '1M', *options)


def end(program):
    program.terminate()
    check('it ends well', program.wait(GUARD_S) == 0)


def on_a_path():
    # A path is a path: a comma is nothing special in it.
    with subprocess.Popen([FRONTEND, '--socket-path=vm,1.sock', '--blk-file=disk,1.img']) as program:
        wait_listening('vm,1.sock')
        done = load('vm,1.sock', '--verify')
        check('a disk: ' + done.stdout + done.stderr, done.returncode == 0)
        end(program)
    with subprocess.Popen([FRONTEND, '--socket-path', 'vm.sock', '--blk-file', 'disk,1.img', '--read-only'],
                          stderr=subprocess.DEVNULL) as program:
        wait_listening('vm.sock')
        done = load('vm.sock')
        check('a disk to read: ' + done.stdout + done.stderr, done.returncode == 0)
        done = load('vm.sock', '--access', 'write')
        check('a write to a disk that is read-only: ' + done.stdout, done.returncode != 0)
        end(program)


def on_a_listening_descriptor():
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind('fd.sock')
        sock.listen(1)
        command = [FRONTEND, '--fd=%d' % sock.fileno(), '--blk-file=disk,1.img']
        with subprocess.Popen(command, pass_fds=[sock.fileno()]) as program:
            for _ in range(2):
                done = load('fd.sock')
                check('a disk: ' + done.stdout + done.stderr, done.returncode == 0)
            end(program)
    check('a socket that it did not make stays', os.path.exists('fd.sock'))


def on_a_connected_descriptor():
    ours, theirs = socket.socketpair(socket.AF_UNIX)
    command = [FRONTEND, '--fd', str(theirs.fileno()), '--blk-file', 'disk,1.img']
    with ours, subprocess.Popen(command, pass_fds=[theirs.fileno()]) as program:
        theirs.close()
        ours.settimeout(GUARD_S)
        ours.sendall(struct.pack('<III', GET_FEATURES, 1, 0))
        request, flags, size, features = struct.unpack('<IIIQ', ours.recv(20, socket.MSG_WAITALL))
        check('an answer', (request, flags & 7, size) == (GET_FEATURES, 5, 8) and features)
        ours.shutdown(socket.SHUT_RDWR)
        check('it ends with its VMM', program.wait(GUARD_S) == 0)


def refused():
    for words, options in (
            ('exclude each other', ['--socket-path=a.sock', '--fd=0', '--blk-file=disk,1.img']),
            ('see --help', ['--socket-path=a.sock']),
            ('see --help', ['--blk-file=disk,1.img']),
            ('Bad file descriptor', ['--fd=99', '--blk-file=disk,1.img']),
            ('No such file', ['--socket-path=a.sock', '--blk-file=missing.img'])):
        done = run(FRONTEND, *options)
        check('%s: %d %s' % (options, done.returncode, done.stderr), done.returncode in (1, 2) and words in done.stderr)
    with open('c.conf', 'w', encoding='utf-8') as conf:
        conf.write('socket-path = a.sock\nfd = 0\nblk-file = disk,1.img\n')
    check('a file that contradicts itself', run(FRONTEND, '--check', 'c.conf').returncode == 2)


def main():
    described()
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        os.chdir(folder)
        with open('disk,1.img', 'wb') as disk:
            disk.truncate(1 << 20)
        os.chmod('disk,1.img', 0o666)
        on_a_path()
        on_a_listening_descriptor()
        on_a_connected_descriptor()
        refused()
        os.chdir('/')
    print('described, started on a path and on descriptors')


if __name__ == '__main__':
    main()

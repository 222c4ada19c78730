#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""config.py BACKEND FRONTEND IVSHMEM VHXCTL: configuration files, their check, and the reload of a program that runs
confined: what can change does, what can't is refused with its name, and then nothing has changed.
"""
import os
import signal
import subprocess
import sys
import tempfile
import time

BACKEND, FRONTEND, IVSHMEM, VHXCTL = [os.path.abspath(a) for a in sys.argv[1:5]]
GUARD_S = 60


def check(what, good):
    if not good:
        raise SystemExit('FAIL: %s' % what)


def run(*command):
    done = subprocess.run(command, capture_output=True, text=True, timeout=GUARD_S, check=False)
    return done.returncode, done.stdout + done.stderr


def expect(code, words, *command):
    got, text = run(*command)
    check('%s: status %d, said: %s' % (' '.join(command), got, text), got == code and words in text)


def write(path, text):
    """In place, as the shell's > does."""
    with open(path, 'w', encoding='utf-8') as file:
        file.write(text)


def replace(path, text):
    """A new file in its place, as editors do."""
    write(path + '.new', text)
    os.rename(path + '.new', path)


class Program:
    def __init__(self, *command):
        self.log = open('program.log', 'w+', encoding='utf-8')
        self.process = subprocess.Popen(command, stderr=self.log)

    def said(self, words):
        with open('program.log', encoding='utf-8') as log:
            return words in log.read()

    def wait_said(self, words):
        end = time.monotonic() + GUARD_S
        while not self.said(words):
            check('it ended before it said %s' % words, self.process.poll() is None)
            check('it never said %s' % words, time.monotonic() < end)
            time.sleep(0.02)

    def end(self):
        self.process.terminate()
        check('it ends well', self.process.wait(GUARD_S) == 0)
        self.log.close()


GOOD = '''# disks of one guest

  listen = unix:be.sock , mode=0600
control=be.ctl
device = blk,id=disk0,file=disk.img
ring-size = 64K
log-level = info
'''.replace(' , ', ',')


def files():
    for program in BACKEND, FRONTEND, IVSHMEM:
        write('bad.conf', 'log-level = loud\n')
        expect(2, "bad.conf:1: --log-level: 'loud' is none of", program, '--check', 'bad.conf')
        write('bad.conf', '\n\nlog-levle = info\n')
        expect(2, 'bad.conf:3: unknown option log-levle; did you mean --log-level?', program, '--check', 'bad.conf')
        write('bad.conf', 'config = other.conf\n')
        expect(2, 'bad.conf:1: config: only for the command line', program, '--config', 'bad.conf')
        write('bad.conf', 'help\n')
        expect(2, 'only for the command line', program, '--check', 'bad.conf')
        write('bad.conf', 'log-level\n')
        expect(2, '--log-level needs a value', program, '--check', 'bad.conf')
        write('bad.conf', 'log-level = info\nlog-level = info\n')
        expect(2, 'bad.conf:2: --log-level: given twice', program, '--check', 'bad.conf')
        write('bad.conf', '# nothing\n')
        expect(2, 'see --help', program, '--check', 'bad.conf')
        write('bad.conf', 'log-level = info\n' + '#' * 40000)
        expect(2, 'File too large', program, '--check', 'bad.conf')
        write('bad.conf', 'log-level = \0info\n')
        expect(2, 'bad.conf: has a NUL byte', program, '--check', 'bad.conf')
        expect(2, 'No such file', program, '--check', 'missing.conf')
        expect(2, 'exclude each other', program, '--check', 'bad.conf', '--config', 'bad.conf')
    write('bad.conf', 'listen = unix:s\ndevice = blk,id=a,file=x\ndevice = rng,id=a\n')
    expect(2, "two devices have the id 'a'", BACKEND, '--check', 'bad.conf')
    write('bad.conf', 'spawn = rng\nvhost-user = vm.sock\n')
    expect(2, '--spawn serves blk only', FRONTEND, '--check', 'bad.conf')
    write('bad.conf', GOOD.replace('unix:', ''))
    expect(2, 'is not an address', BACKEND, '--check', 'bad.conf')
    write('bad.conf', GOOD.replace('mode=0600', 'allow-uid=nobody_has_this_name'))
    expect(2, "there is no user 'nobody_has_this_name'", BACKEND, '--check', 'bad.conf')
    write('bad.conf', GOOD.replace('be.ctl', 'be.ctl,mode=9'))
    expect(2, 'is no mode', BACKEND, '--check', 'bad.conf')
    write('bad.conf', 'connect = unix:s\nvhost-user = vm.sock,nonsense=1\n')
    expect(2, 'nonsense', FRONTEND, '--check', 'bad.conf')
    write('be.conf', GOOD)
    expect(0, 'be.conf: good', BACKEND, '--check', 'be.conf')
    write('fe.conf', 'connect = unix:be.sock\nvhost-user = vm.sock,id=disk0\ncontrol = fe.ctl\n')
    expect(0, 'fe.conf: good', FRONTEND, '--check', 'fe.conf')
    write('iv.conf', 'connect = unix:be.sock\nqemu = iv.sock,size=1M\ncontrol = iv.ctl\n')
    expect(0, 'iv.conf: good', IVSHMEM, '--check', 'iv.conf')
    check('a check opens nothing', not os.path.exists('be.sock'))


def names():
    """Names of users and groups that a program had when it started are good for a reload of it, which cannot look any up."""
    named = GOOD.replace('mode=0600', 'mode=0660,group=daemon,allow-uid=daemon')
    write('be.conf', named)
    program = Program(BACKEND, '--config', 'be.conf')
    program.wait_said('ready')
    write('be.conf', named.replace('uid=daemon', 'uid=daemon:4711'))
    expect(0, '', VHXCTL, 'reload', 'be.ctl')
    program.wait_said('reloaded: 1 options changed')
    refused("there is no user 'nobody_has_this'", named.replace('uid=daemon', 'uid=daemon:nobody_has_this'))
    program.end()


def refused(words, text):
    write('be.conf', text)
    expect(1, words, VHXCTL, 'reload', 'be.ctl')


def backend():
    program = Program(BACKEND, '--config', 'be.conf', '--poll-us', '7')
    program.wait_said('ready')
    # In place, by signal.
    write('be.conf', GOOD.replace('info', 'debug'))
    program.process.send_signal(signal.SIGHUP)
    program.wait_said('reloaded: 1 options changed')
    # The same by request; and a level that silences what comes.
    write('be.conf', GOOD.replace('info', 'error'))
    expect(0, '', VHXCTL, 'reload', 'be.ctl')
    write('be.conf', GOOD)
    expect(0, '', VHXCTL, 'reload', 'be.ctl')
    # Who may connect.
    write('be.conf', GOOD.replace('mode=0600', 'mode=0600,allow-uid=%d:4711' % os.getuid()))
    expect(0, '', VHXCTL, 'reload', 'be.ctl')
    label = GOOD.replace('be.ctl', 'be.ctl,allow-label=nobody_has_this')
    refused('mode and group cannot change', GOOD.replace('0600', '0660'))
    refused('listen: the path cannot change', GOOD.replace('be.sock', 'other.sock'))
    refused('listen: no socket comes or goes', GOOD + 'listen = unix:more.sock\n')
    refused('device cannot change while the program runs: restart it', GOOD + 'device = rng\n')
    refused('ring-size cannot change', GOOD.replace('64K', '128K'))
    refused('control cannot change', GOOD.replace('control=be.ctl\n', ''))
    refused('control: the path cannot change', GOOD.replace('be.ctl', 'other.ctl'))
    refused('be.conf:9: unknown option nonsense', GOOD + '\nnonsense = 1\n')
    # Half of it would be fine: none of it happens.
    refused('ring-size cannot change', GOOD.replace('64K', '128K').replace('info', 'error'))
    check('it still speaks', program.said('not reloaded: ring-size cannot change'))
    # A new file in the old one's place cannot be opened by a confined program, but passed on.
    replace('be.conf', label)
    expect(1, 'another file is in its place', VHXCTL, 'reload', 'be.ctl')
    expect(1, 'No such file', VHXCTL, 'reload', 'be.ctl', 'missing.conf')
    expect(0, '', VHXCTL, 'reload', 'be.ctl', 'be.conf')
    expect(1, '', VHXCTL, 'stats', 'be.ctl')
    program.wait_said('control: refused pid')
    program.end()


def others():
    for path, program, control, old, new in (
            ('fe.conf', FRONTEND, 'fe.ctl', 'id=disk0', 'id=disk0,allow-gid=4711'),
            ('iv.conf', IVSHMEM, 'iv.ctl', 'size=1M', 'size=1M,allow-uid=4711')):
        with open(path, encoding='utf-8') as file:
            text = file.read()
        running = Program(program, '--config', path)
        running.wait_said('ready')
        write(path, text.replace(old, new))
        expect(0, '', VHXCTL, 'reload', control)
        running.wait_said('reloaded: 1 options changed')
        write(path, text.replace('be.sock', 'other.sock'))
        expect(1, 'connect cannot change', VHXCTL, 'reload', control)
        running.end()
    plain = Program(BACKEND, '--listen', 'unix:be.sock', '--device', 'rng', '--control', 'be.ctl')
    plain.wait_said('ready')
    expect(1, 'started without --config', VHXCTL, 'reload', 'be.ctl')
    plain.end()


def main():
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        with open('disk.img', 'wb') as disk:
            disk.truncate(1 << 20)
        files()
        backend()
        if os.getuid() == 0: # who else may give a socket to another group?
            names()
        others()
        os.chdir('/')
    print('files, checks and reloads')


if __name__ == '__main__':
    main()

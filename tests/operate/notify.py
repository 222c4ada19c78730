#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""notify.py BACKEND FRONTEND LOAD: what a service manager hears of programs that run confined: that they serve, what
they do, that they live, and, when their loop stands, nothing any more. Then a socket that was listening before them.
"""
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

BACKEND, FRONTEND, LOAD = [os.path.abspath(a) for a in sys.argv[1:4]]
GUARD_S = 60
WATCHDOG_US = 600000


def check(what, good):
    if not good:
        raise SystemExit('FAIL: %s' % what)


def lives(pid):
    """A process that ended and that nobody asked for yet does not."""
    try:
        with open('/proc/%s/stat' % pid, encoding='utf-8') as stat:
            return stat.read().rsplit(')', 1)[1].split()[0] not in 'ZX'
    except (FileNotFoundError, ProcessLookupError):
        return False


class Manager:
    """One service of it: the socket of NOTIFY_SOCKET, and what came there."""

    def __init__(self, name, *command, watchdog_us=WATCHDOG_US, crowd=None):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.sock.bind(name + '.notify')
        while crowd and self.has_room(crowd, name):
            pass
        self.notes = []
        environment = dict(os.environ, NOTIFY_SOCKET=os.path.abspath(name + '.notify'), WATCHDOG_USEC=str(watchdog_us))
        environment.pop('WATCHDOG_PID', None)
        self.log = open(name + '.log', 'w+', encoding='utf-8')
        self.process = subprocess.Popen(command, env=environment, stderr=self.log)

    @staticmethod
    def has_room(crowd, name):
        try:
            return crowd.sendto(b'X_OTHER=1', name + '.notify')
        except BlockingIOError:
            return False

    def take(self, patience):
        if not select.select([self.sock], [], [], patience)[0]:
            return None
        note = self.sock.recv(4096).decode()
        self.notes.append(note)
        return note

    def wait(self, words):
        end = time.monotonic() + GUARD_S
        while not any(words in note for note in self.notes):
            check('never heard: %s, but %s' % (words, self.notes), time.monotonic() < end)
            self.take(1)

    def forget(self):
        while self.take(0):
            pass
        self.notes = []

    def end(self):
        self.forget()
        self.process.send_signal(signal.SIGTERM)
        end = time.monotonic() + GUARD_S
        # A manager goes on reading: whoever notifies waits for room.
        while self.process.poll() is None and time.monotonic() < end:
            self.take(0.1)
        check('it ends well', self.process.poll() == 0)
        self.wait('STOPPING=1')
        self.sock.close()


def served():
    backend = Manager('backend', BACKEND, '--listen', 'unix:be.sock', '--device', 'blk,id=disk0,file=disk.img')
    backend.wait('READY=1')
    backend.wait('STATUS=0 of 1 devices in use, 0 frontends connected')
    frontend = Manager('frontend', FRONTEND, '--connect', 'unix:be.sock', '--vhost-user', 'vm.sock')
    frontend.wait('READY=1')
    backend.wait('STATUS=1 of 1 devices in use, 1 frontends connected')
    frontend.wait('STATUS=backend established, 0 of 1 devices in use')
    for program in backend, frontend:
        program.forget()
        for _ in range(3):
            program.wait('WATCHDOG=1')
            program.notes.remove('WATCHDOG=1')
    # A loop that stands says nothing: after what was on its way there comes a time of many signs without any.
    backend.process.send_signal(signal.SIGSTOP)
    backend.forget()
    backend.take(0.2)
    check('a stopped program is said to live', backend.take(WATCHDOG_US * 5 / 1e6) is None)
    backend.process.send_signal(signal.SIGCONT)
    backend.wait('WATCHDOG=1')
    frontend.end()
    backend.end()


def watchdog_of_no_time():
    """What asks for a sign of life every microsecond gets them, and the program still does its work."""
    backend = Manager('hasty', BACKEND, '--listen', 'unix:be.sock', '--device', 'blk,id=disk0,file=disk.img',
                      watchdog_us=1)
    backend.wait('WATCHDOG=1')
    done = subprocess.run([LOAD, '--target', 'unix:be.sock', '--run-ms', '100'], capture_output=True, text=True,
                          timeout=GUARD_S, check=False)
    check('the load runs: ' + done.stdout + done.stderr, done.returncode == 0)
    backend.end()


def manager_that_does_not_read():
    """It gets the notes once it reads; and when it never does, neither the program nor its attendant waits for ever."""
    for sandbox in 'on', 'off':
        for reads in True, False:
            name = 'deaf-%s-%s' % (sandbox, reads)
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as crowd:
                crowd.setblocking(False)
                backend = Manager(name, BACKEND, '--listen', 'unix:be.sock', '--device',
                                  'blk,id=disk0,file=disk.img', '--sandbox', sandbox, crowd=crowd)
                end = time.monotonic() + GUARD_S
                while 'ready' not in open(name + '.log', encoding='utf-8').read() and time.monotonic() < end:
                    time.sleep(0.02)
                pid = backend.process.pid
                with open('/proc/%d/task/%d/children' % (pid, pid), encoding='ascii') as children:
                    attendants = children.read().split()
                check('it has an attendant', attendants)
                if reads:
                    backend.wait('READY=1')
                    backend.end()
                else:
                    backend.process.send_signal(signal.SIGTERM)
                    check('it ends well', backend.process.wait(GUARD_S) == 0)
                while any(lives(p) for p in attendants):
                    check('an attendant is left behind', time.monotonic() < end)
                    time.sleep(0.02)


def hostile_text():
    """Nobody can put a second assignment into a status: names of devices have no line ends to begin with."""
    done = subprocess.run([BACKEND, '--listen', 'unix:be.sock', '--device', 'rng,id=a\nREADY=1'], capture_output=True,
                          text=True, timeout=GUARD_S, check=False)
    check('an id with a line end was taken', done.returncode == 1 and 'letters' in done.stderr)


def activated():
    tool = shutil.which('systemd-socket-activate')
    if not tool:
        print('no systemd-socket-activate here: not activated by a socket')
        return
    with open('activate.log', 'w+', encoding='utf-8') as log:
        process = subprocess.Popen(
            [tool, '--seqpacket', '--listen=' + os.path.abspath('act.sock'), BACKEND,
             '--listen', 'unix:' + os.path.abspath('act.sock'), '--device', 'blk,id=disk0,file=disk.img'],
            stderr=log)
        end = time.monotonic() + GUARD_S
        while not os.path.exists('act.sock') and time.monotonic() < end:
            time.sleep(0.02)
        inode = os.stat('act.sock').st_ino
        done = subprocess.run([LOAD, '--target', 'unix:' + os.path.abspath('act.sock'), '--run-ms', '100'],
                              capture_output=True, text=True, timeout=GUARD_S, check=False)
        check('the load runs: ' + done.stdout + done.stderr, done.returncode == 0)
        process.terminate()
        check('it ends well', process.wait(GUARD_S) == 0)
    check("the manager's socket was not removed", os.stat('act.sock').st_ino == inode)
    print('activated by a socket')


def main():
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        with open('disk.img', 'wb') as disk:
            disk.truncate(1 << 20)
        served()
        watchdog_of_no_time()
        manager_that_does_not_read()
        hostile_text()
        activated()
        os.chdir('/')
    print('ready, status, signs of life')


if __name__ == '__main__':
    main()

#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""vmm.py SOCKET [BACKEND_PID [moved]]: the least of a VMM: one queue of virtio-blk over vhost-user.

Reads the first sector. With a pid: stops that process, so that a second read stays in flight, and then sends
every request that a VMM may send; each has to be answered within the protocol's patience. The read ends when the queue is
started again and the process goes on. With "moved": announces
its memory again meanwhile, after the guest has changed the request's descriptors under the device's hands.
"""
import mmap
import os
import signal
import socket
import struct
import sys
import time

# The bound is 5 s per request (DESIGN); twice that tells a slow machine from one that waits for ever.
PATIENCE = 10.0
SIZE, QUEUE = 1 << 20, 8
DESC, AVAIL, USED, HEADER, DATA, STATUS = 0x0, 0x1000, 0x2000, 0x3000, 0x4000, 0x5000
REPLY, NEED_REPLY = 0x4, 0x8

GET_FEATURES, SET_FEATURES, SET_OWNER, SET_MEM_TABLE = 1, 2, 3, 5
SET_VRING_NUM, SET_VRING_ADDR, SET_VRING_BASE, GET_VRING_BASE = 8, 9, 10, 11
SET_VRING_KICK, SET_VRING_CALL, GET_PROTOCOL, SET_PROTOCOL = 12, 13, 15, 16
GET_QUEUE_NUM, SET_VRING_ENABLE, GET_CONFIG, SET_CONFIG = 17, 18, 24, 25
RESET_DEVICE, GET_MAX_MEM_SLOTS, SET_STATUS, GET_STATUS = 34, 36, 39, 40

VERSION_1, PROTOCOL_FEATURES = 1 << 32, 1 << 30
P_MQ, P_REPLY_ACK, P_CONFIG, P_RESET, P_SLOTS, P_STATUS = (1 << n for n in (0, 3, 9, 13, 15, 16))
NO_FD = 1 << 8


class Vmm:
    def __init__(self, path):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(PATIENCE)
        self.sock.connect(path)
        self.fd = os.memfd_create('guest', os.MFD_ALLOW_SEALING)
        os.ftruncate(self.fd, SIZE)
        self.mem = mmap.mmap(self.fd, SIZE)
        self.kick, self.call = os.eventfd(0, os.EFD_NONBLOCK), os.eventfd(0, os.EFD_NONBLOCK)
        self.acks = False

    def ask(self, request, payload=b'', fds=(), answer=None):
        """Sends one request; returns its answer's payload, or the REPLY_ACK value."""
        flags = 1 | (NEED_REPLY if self.acks and answer is None else 0)
        socket.send_fds(self.sock, [struct.pack('<III', request, flags, len(payload)) + payload], fds)
        if answer is None and not self.acks:
            return None
        start = time.monotonic()
        header = self.read(12)
        got, flags, size = struct.unpack('<III', header)
        body = self.read(size)
        took = time.monotonic() - start
        assert got == request and flags & REPLY, f'request {request} answered by {got}, flags {flags:#x}'
        print(f'request {request:2}: {took:.2f} s, {size} bytes')
        return body if answer is not None else struct.unpack('<Q', body)[0]

    def read(self, size):
        data = b''
        while len(data) < size:
            part = self.sock.recv(size - len(data))
            assert part, 'the connection was closed'
            data += part
        return data

    def u64(self, request):
        return struct.unpack('<Q', self.ask(request, answer=True))[0]

    def state(self, request, value, answer=None):
        return self.ask(request, struct.pack('<II', 0, value), answer=answer)

    def start(self):
        features = self.u64(GET_FEATURES)
        assert features & VERSION_1 and features & PROTOCOL_FEATURES
        protocol = self.u64(GET_PROTOCOL)
        wanted = P_MQ | P_REPLY_ACK | P_CONFIG | P_RESET | P_SLOTS | P_STATUS
        assert protocol & wanted == wanted, f'{protocol:#x}'
        self.ask(SET_PROTOCOL, struct.pack('<Q', wanted))
        self.acks = True
        assert self.ask(SET_OWNER) == 0
        assert self.ask(SET_FEATURES, struct.pack('<Q', VERSION_1 | PROTOCOL_FEATURES)) == 0
        assert self.announce_memory() == 0
        assert self.state(SET_VRING_NUM, QUEUE) == 0
        assert self.state(SET_VRING_BASE, 0) == 0
        user = 0x10000000
        assert self.ask(SET_VRING_ADDR, struct.pack('<IIQQQQ', 0, 0, user + DESC, user + USED,
                                                    user + AVAIL, 0)) == 0
        assert self.ask(SET_VRING_CALL, struct.pack('<Q', 0), [self.call]) == 0
        assert self.ask(SET_VRING_KICK, struct.pack('<Q', 0), [self.kick]) == 0
        assert self.state(SET_VRING_ENABLE, 1) == 0

    def announce_memory(self):
        region = struct.pack('<IIQQQQ', 1, 0, 0, SIZE, 0x10000000, 0)
        return self.ask(SET_MEM_TABLE, region, [self.fd])

    def used_idx(self):
        return struct.unpack_from('<H', self.mem, USED + 2)[0]

    def read_sector(self):
        struct.pack_into('<IIQ', self.mem, HEADER, 0, 0, 0)
        self.mem[STATUS] = 0xff
        for i, (at, size, flags, following) in enumerate(
                ((HEADER, 16, 1, 1), (DATA, 512, 3, 2), (STATUS, 1, 2, 0))):
            struct.pack_into('<QIHH', self.mem, DESC + 16 * i, at, size, flags, following)
        idx = struct.unpack_from('<H', self.mem, AVAIL + 2)[0]
        struct.pack_into('<H', self.mem, AVAIL + 4 + 2 * (idx % QUEUE), 0)
        struct.pack_into('<H', self.mem, AVAIL + 2, idx + 1)
        os.eventfd_write(self.kick, 1)

    def wait_used(self, idx):
        end = time.monotonic() + PATIENCE
        while self.used_idx() != idx:
            assert time.monotonic() < end, 'the read never ended'
            time.sleep(0.01)


def main():
    vmm = Vmm(sys.argv[1])
    vmm.start()
    vmm.read_sector()
    vmm.wait_used(1)
    assert vmm.mem[STATUS] == 0, f'status {vmm.mem[STATUS]}'
    if len(sys.argv) < 3:
        return
    os.kill(int(sys.argv[2]), signal.SIGSTOP)
    vmm.read_sector()
    time.sleep(0.2)
    if sys.argv[3:] == ['moved']:
        struct.pack_into('<I', vmm.mem, DESC + 16 + 8, 1024)
        assert vmm.announce_memory() == 0
        vmm.state(GET_VRING_BASE, 0, answer=True)
        return
    vmm.u64(GET_FEATURES)
    vmm.u64(GET_PROTOCOL)
    assert vmm.u64(GET_QUEUE_NUM) == 1
    assert vmm.u64(GET_MAX_MEM_SLOTS) > 0
    vmm.u64(GET_STATUS)
    assert len(vmm.ask(GET_CONFIG, struct.pack('<III', 0, 8, 0) + bytes(8), answer=True)) == 20
    vmm.ask(SET_CONFIG, struct.pack('<III', 32, 1, 0) + b'\1')
    assert vmm.state(SET_VRING_ENABLE, 1) == 0
    assert vmm.used_idx() == 1, 'a stopped backend has answered'
    # The stop waits for the read, then cuts the backend off and gives the read back: it lies behind the base.
    base = struct.unpack('<II', vmm.state(GET_VRING_BASE, 0, answer=True))[1]
    assert base == 1, f'base {base}'
    assert vmm.used_idx() == 1 and vmm.mem[STATUS] == 0xff, f'status {vmm.mem[STATUS]}'
    # The virtual machine goes on, and so does its backend.
    os.kill(int(sys.argv[2]), signal.SIGCONT)
    assert vmm.state(SET_VRING_BASE, base) == 0
    assert vmm.ask(SET_VRING_KICK, struct.pack('<Q', 0), [vmm.kick]) == 0
    vmm.wait_used(2)
    assert vmm.mem[STATUS] == 0, f'status {vmm.mem[STATUS]}'
    # A queue without a kick descriptor is polled.
    assert vmm.ask(SET_VRING_KICK, struct.pack('<Q', NO_FD)) == 0
    vmm.read_sector()
    vmm.wait_used(3)
    assert vmm.ask(SET_STATUS, struct.pack('<Q', 0)) == 0
    assert vmm.ask(RESET_DEVICE) == 0


main()

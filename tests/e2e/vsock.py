#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""The host's side of vsock tests: unix sockets as vhx-backend's vsock device has them. Prints sums of what came.

vsock.py echo SOCKET [COUNT]        serves COUNT connections (1), one after the other: all that comes, back at its end
vsock.py messages SOCKET            serves one of sequenced packets: each message goes back, its length is printed
vsock.py hold SOCKET FILE           takes a connection and reads nothing of it until FILE is there
vsock.py through SOCKET PORT FILE   connects to a port of the guest, sends FILE and reads as much back meanwhile
vsock.py refused SOCKET PORT        nobody listens at that port of the guest
"""
import hashlib
import os
import select
import socket
import sys
import time

PIECE = 1 << 16
MESSAGE_MAX = 1 << 18


def listen(path, kind=socket.SOCK_STREAM):
    listener = socket.socket(socket.AF_UNIX, kind)
    listener.bind(path)
    listener.listen(16)
    return listener


def everything(peer):
    pieces = []
    while piece := peer.recv(PIECE):
        pieces.append(piece)
    return b''.join(pieces)


def told(data):
    print(len(data), hashlib.sha256(data).hexdigest(), flush=True)


def echo(path, count='1'):
    with listen(path) as listener:
        for _ in range(int(count)):
            peer, _ = listener.accept()
            with peer:
                data = everything(peer)
                told(data)
                peer.sendall(data)


def messages(path):
    with listen(path, socket.SOCK_SEQPACKET) as listener:
        peer, _ = listener.accept()
        with peer:
            while message := peer.recv(MESSAGE_MAX):
                print(len(message), flush=True)
                peer.send(message)


def hold(path, until):
    with listen(path) as listener:
        peer, _ = listener.accept()
        with peer:
            print('connected', flush=True)
            while not os.path.exists(until):
                time.sleep(0.1)
            told(everything(peer))


def connect(path, port):
    """A connection to the guest's port, or None."""
    peer = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    peer.connect(path)
    peer.sendall(b'CONNECT %d\n' % port)
    answer = b''
    while not answer.endswith(b'\n'):
        byte = peer.recv(1)
        if not byte:
            return None
        answer += byte
    assert answer.startswith(b'OK '), answer
    return peer


def through(path, port, name):
    with open(name, 'rb') as file:
        data = file.read()
    with connect(path, int(port)) as peer:
        peer.setblocking(False)
        sent, back = 0, bytearray()
        while True:
            ready = select.select([peer], [peer] if sent < len(data) else [], [])
            if ready[1]:
                sent += peer.send(data[sent:sent + PIECE])
                if sent == len(data):
                    peer.shutdown(socket.SHUT_WR)
            if ready[0]:
                piece = peer.recv(PIECE)
                if not piece:
                    break
                back += piece
    assert bytes(back) == data, '%d of %d bytes came back' % (len(back), len(data))
    told(data)


def refused(path, port):
    assert connect(path, int(port)) is None


COMMANDS = {'echo': echo, 'messages': messages, 'hold': hold, 'through': through, 'refused': refused}
COMMANDS[sys.argv[1]](*sys.argv[2:])

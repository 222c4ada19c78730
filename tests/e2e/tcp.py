#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""One TCP connection of a network test, and its bytes.

tcp.py receive ADDRESS PORT   waits for a connection, prints the sum of all that came
tcp.py serve ADDRESS PORT     the same, for one connection after the other, until it is killed
tcp.py send ADDRESS PORT      sends standard input, prints its sum, waits until the other end has closed
"""
import hashlib
import socket
import sys
import time

PIECE = 1 << 20


def receive(address):
    with socket.create_server(address) as listener:
        return take(listener)


def serve(address):
    with socket.create_server(address) as listener:
        while True:
            print(take(listener).hexdigest(), flush=True)


def take(listener):
    peer, _ = listener.accept()
    total = hashlib.sha256()
    with peer:
        while piece := peer.recv(PIECE):
            total.update(piece)
    return total


def connect(address):
    # The other end may not listen yet. A test has its own limit of time.
    while True:
        try:
            return socket.create_connection(address)
        except ConnectionRefusedError:
            time.sleep(0.1)


def send(address):
    total = hashlib.sha256()
    with connect(address) as peer:
        while piece := sys.stdin.buffer.read(PIECE):
            total.update(piece)
            peer.sendall(piece)
        peer.shutdown(socket.SHUT_WR)
        while peer.recv(PIECE):
            pass
    return total


print({'receive': receive, 'serve': serve, 'send': send}[sys.argv[1]]((sys.argv[2], int(sys.argv[3]))).hexdigest())

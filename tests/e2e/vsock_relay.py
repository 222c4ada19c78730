#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Links the guest's connections to a port of the host with that port of the guest, as if the two were one.

vsock_relay.py SOCKET PORT   SOCKET is the uds-path of a vsock device

So both ends of a test for AF_VSOCK can be in guests, or in one. Streams and sequenced packets, half-closed as they are.
"""
import select
import socket
import sys
import threading

PIECE = 1 << 18
KINDS = ((socket.SOCK_STREAM, ''), (socket.SOCK_SEQPACKET, '.seq'))


def connect(path, kind, port):
    peer = socket.socket(socket.AF_UNIX, kind)
    peer.connect(path)
    peer.sendall(b'CONNECT %d\n' % port)
    answer = b''
    while not answer.endswith(b'\n'):
        piece = peer.recv(1 if kind == socket.SOCK_STREAM else PIECE)
        if not piece:
            raise ConnectionRefusedError
        answer += piece
    return peer


def pump(one, other):
    """Until either has left altogether."""
    ends = {one.fileno(): (one, other), other.fileno(): (other, one)}
    poll = select.poll()
    for fd in ends:
        poll.register(fd, select.POLLIN)
    while True:
        for fd, events in poll.poll():
            source, sink = ends[fd]
            piece = source.recv(PIECE) if events & select.POLLIN else b''
            if piece:
                sink.sendall(piece)
            elif events & (select.POLLHUP | select.POLLERR):
                return
            else:
                sink.shutdown(socket.SHUT_WR)
                poll.modify(fd, 0)


def link(peer, path, kind, port):
    with peer:
        try:
            with connect(path, kind, port) as other:
                pump(peer, other)
        except OSError:
            pass


def serve(listener, *args):
    while True:
        peer, _ = listener.accept()
        threading.Thread(target=link, args=(peer, *args), daemon=True).start()


def main(path, port):
    threads = []
    for kind, suffix in KINDS:
        listener = socket.socket(socket.AF_UNIX, kind)
        listener.bind('%s%s_%s' % (path, suffix, port))
        listener.listen(128)
        threads.append(threading.Thread(target=serve, args=(listener, path + suffix, kind, int(port))))
    for thread in threads:
        thread.start()


main(*sys.argv[1:])

"""A name server for benchmarks: every domain has a mail exchanger, every mail exchanger an address."""

import multiprocessing
import socket
import struct

A, MX, TTL = 1, 15, 300
RECEIVED = 1 << 23
# socket(7), absent from Python's module.
SO_RCVBUFFORCE = 33


def answer(query, address_of):
    """The answer to a query: d<N>.… has the mail exchanger mx.d<N>.…, which has an address:
    `address_of(first label of the domain)`."""
    labels, at = [], 12
    while query[at]:
        labels.append(query[at + 1:at + 1 + query[at]].decode("ascii", "replace").lower())
        at += 1 + query[at]
    question = query[12:at + 5]
    kind = struct.unpack("!H", query[at + 1:at + 3])[0]
    if kind == MX and labels[0] != "mx":
        data = struct.pack("!H", 10) + b"\x02mx\xc0\x0c"
    elif kind == A and labels[0] == "mx":
        data = socket.inet_aton(address_of(labels[1]))
    else:
        return query[:2] + struct.pack("!HHHHH", 0x8180, 1, 0, 0, 0) + question
    record = b"\xc0\x0c" + struct.pack("!HHIH", kind, 1, TTL, len(data)) + data
    return query[:2] + struct.pack("!HHHHH", 0x8180, 1, 1, 0, 0) + question + record


def serve(server, address_of):
    while True:
        query, peer = server.recvfrom(512)
        server.sendto(answer(query, address_of), peer)


class Names:
    """The name server, in a process of its own."""

    def __init__(self, address, port, address_of):
        server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        # A query that found the buffer full would cost its sender seconds.
        for option in (socket.SO_RCVBUF, SO_RCVBUFFORCE):
            try:
                server.setsockopt(socket.SOL_SOCKET, option, RECEIVED)
            except PermissionError:
                # Not root; the first option gave what the machine allows.
                pass
        server.bind((address, port))
        # Forked, so that `address_of` may be any function.
        context = multiprocessing.get_context("fork")
        self.process = context.Process(target=serve, args=(server, address_of), daemon=True)

        self.process.start()
        server.close()

    def stop(self):
        self.process.terminate()
        self.process.join()


class BlackHole:
    """An address whose port takes no connection and refuses none: its backlog is full, so the kernel
    drops what comes."""

    def __init__(self, address, port):
        self.listener = socket.socket()
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.listener.bind((address, port))
        self.listener.listen(0)
        self.held = []
        while True:
            probe = socket.socket()
            probe.settimeout(0.5)
            try:
                probe.connect((address, port))
            except TimeoutError:
                probe.close()
                return
            self.held.append(probe)

    def close(self):
        for open_socket in [*self.held, self.listener]:
            open_socket.close()

"""One DNS question and its answer (RFC 1035), enough to see a server at work."""

from __future__ import annotations

import socket
import struct
from dataclasses import dataclass

#: Seconds to wait for an answer.
ANSWER_LIMIT = 1.0
QUESTION_ID = 0x4D52
TYPE_A = 1
RCODES = {0: "NOERROR", 2: "SERVFAIL", 3: "NXDOMAIN", 5: "REFUSED"}


@dataclass(frozen=True)
class Answer:
    """The parts of a reply that the harness looks at."""

    rcode: str
    records: int


def query(server: str, name: str, record_type: int = TYPE_A) -> Answer:
    """Asks one server over UDP; `OSError` when it does not answer in time."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.settimeout(ANSWER_LIMIT)
        udp.connect((server, 53))
        udp.send(question(name, record_type))
        return parse(udp.recv(4096))


def question(name: str, record_type: int) -> bytes:
    """A query packet that asks for recursion."""
    labels = [label.encode("ascii") for label in name.strip(".").split(".")]
    encoded = b"".join(bytes([len(label)]) + label for label in labels) + b"\0"
    header = struct.pack(">HHHHHH", QUESTION_ID, 0x0100, 1, 0, 0, 0)
    return header + encoded + struct.pack(">HH", record_type, 1)


def parse(packet: bytes) -> Answer:
    """The header of a reply; the records themselves are only counted."""
    if len(packet) < 12:
        raise OSError("a DNS reply of less than a header")
    _, flags, _, answers, _, _ = struct.unpack(">HHHHHH", packet[:12])
    code = flags & 0xF
    return Answer(RCODES.get(code, str(code)), answers)

"""The loads of `make bench`."""

from measuring import Load


def size(octets):
    return f"{octets // 1024} KiB"


def throughput():
    for octets in (4096, 102_400):
        for sessions in (20, 100, 500):
            for reused in (False, True):
                yield Load(
                    f"s{sessions}-{octets // 1024}k{'-d' if reused else ''}",
                    f"{size(octets)}, {sessions} sessions, "
                    f"{'connections reused' if reused else 'a connection for each message'}",
                    sessions=sessions, octets=octets, reused=reused,
                    quick=(sessions, octets, reused) == (20, 4096, False))


LOADS = [
    *throughput(),
    Load("latency-1", "4 KiB, reply to the final dot, 1 session", sessions=1, reused=True,
         clients=True),
    Load("latency-20", "4 KiB, reply to the final dot, 20 sessions", reused=True, clients=True,
         quick=True),
    Load("destinations", "4 KiB, 20 sessions, 1,000 destinations by MX", reused=True, spread=1000,
         quick=True),
    Load("rsa", "4 KiB, 20 sessions, signed with RSA-2048", keys=("rsa",), quick=True),
    Load("ed25519", "4 KiB, 20 sessions, signed with Ed25519", keys=("ed25519",)),
    Load("both", "4 KiB, 20 sessions, signed with RSA-2048 and Ed25519", keys=("rsa", "ed25519")),
    Load("refused", "4 KiB, 20 sessions, a third of the recipients answered 450", refused=True,
         quick=True),
]

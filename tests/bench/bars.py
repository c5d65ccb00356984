"""What the relay is held against, judged from the figures of one run."""

# Delivered per second of KumoMTA with each message synced, and of tuned Postfix, in one run on the machine that
# the bars were taken from (s20 4 KiB).
KUMO, KUMO_POSTFIX = 949, 781


def figure(results, load, key, peer="ours"):
    found = results["loads"].get(load, {}).get("peers", {}).get(peer, {})
    return found.get(key)


def dead(results, key):
    return results.get("dead", {}).get("ours", {}).get(key)


def ratio(results, load, key="delivered_per_second"):
    ours, postfix = (figure(results, load, key, peer) for peer in ("ours", "postfix"))
    return ours / postfix if ours is not None and postfix else None


def throughput_ratio(results):
    return ratio(results, "s20-4k")


def scaled(value, factor):
    return None if value is None else value * factor


def signing_cost(results):
    """CPU that a signature adds, in raw signatures of the same library on the same machine."""
    signed, plain = (figure(results, load, "cpu_seconds_per_1000") for load in ("rsa", "s20-4k"))
    if signed is None or plain is None:
        return None
    return (signed - plain) / (1000 / results["limits"]["rsa_2048_signatures_per_second"])


def measured(results):
    """(what, unit, value, limit, whether the value may be at most the limit)"""
    def memory(load):
        return figure(results, load, "peak_memory_mib")

    yield "s20 4 KiB, delivered, to Postfix", "×", ratio(results, "s20-4k"), 5, False
    yield ("s20 4 KiB, delivered, to synced KumoMTA by its recorded ratio to Postfix", "×",
           scaled(ratio(results, "s20-4k"), KUMO_POSTFIX / KUMO), 4, False)
    yield "s20 4 KiB reused, delivered, to Postfix", "×", ratio(results, "s20-4k-d"), 6, False
    yield "s20 100 KiB, delivered, to Postfix", "×", ratio(results, "s20-100k"), 3, False
    yield ("s20 4 KiB, CPU", "s per 1,000", figure(results, "s20-4k", "cpu_seconds_per_1000"), 0.25,
           True)
    yield ("s20 4 KiB, RSA-2048, delivered", "per s", figure(results, "rsa", "delivered_per_second"),
           2500, False)
    yield "RSA-2048, CPU added", "× raw signature", signing_cost(results), 1.15, True
    for sessions, p50, p99 in ((1, 0.45, 1.0), (20, 1.0, 3.0)):
        load = f"latency-{sessions}"
        shown = "1 session" if sessions == 1 else f"{sessions} sessions"
        yield f"final dot to 250, {shown}, p50", "ms", figure(results, load, "p50_ms"), p50, True
        yield f"final dot to 250, {shown}, p99", "ms", figure(results, load, "p99_ms"), p99, True
    yield ("s20 4 KiB, flushes", "per message", figure(results, "s20-4k", "flushes_per_message"), 0.3,
           True)
    yield ("s20 4 KiB, octets written", "per octet of mail",
           figure(results, "s20-4k", "octets_written_per_octet"), 1.3, True)
    yield "memory, idle", "MiB", figure(results, "s20-4k", "idle_memory_mib"), 24, True
    yield "memory, s20 4 KiB", "MiB", memory("s20-4k"), 64, True
    yield "memory, 500 busy sessions", "MiB", memory("s500-4k-d"), 150, True
    queued = dead(results, "messages")
    shown = f"{queued:,}" if queued else "1,000,000"
    yield f"memory, {shown} queued", "MiB", dead(results, "peak_memory_mib"), 400, True
    yield f"recovery of {shown} queued", "s", dead(results, "recovery_seconds"), 10, True


def judge(results):
    """Each bar; `met` is None where the run has no figure for it."""
    return [
        {"bar": what, "unit": unit, "limit": limit, "at_most": at_most,
         "value": None if value is None else round(value, 3),
         "met": None if value is None else (value <= limit if at_most else value >= limit)}
        for what, unit, value, limit, at_most in measured(results)
    ]

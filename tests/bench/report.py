"""The results as docs/performance.json, .md and .svg."""

import html
import json

from measuring import SLOW

COLUMNS = {
    "delivered_per_second": "delivered/s",
    "accepted_per_second": "accepted/s",
    "cpu_seconds_per_1000": "CPU s per 1,000",
    "peak_memory_mib": "peak MiB",
    "octets_written_per_octet": "written per octet",
    "flushes_per_message": "flushes per message",
}
TIMES = {"p50_ms": "p50 ms", "p99_ms": "p99 ms", "p999_ms": "p99.9 ms"}
COLOURS = ["#1f6feb", "#8c959f", "#bf8700", "#8250df", "#1a7f37", "#cf222e", "#0550ae"]

HEAD = """\
# Performance

Written by `make bench`; the figures are in `performance.json`. Absolute figures belong to this machine:
compare within a table.

![Messages delivered per second](performance.svg)

## How it was measured

{machine}

Client, mail server and sink share these cores. Each mail server is started anew for each measurement, with its
queue on the same file system; one runs at a time, and they take turns over {rounds} rounds, of which the
medians are shown; a peer whose measurement took longer than {slow} s had one round. `smtp-source` sends and `smtp-sink` receives, both Postfix's own. Times of replies and 1,000
destinations are by a client of our own, which speaks one command at a time in clear text.

- **delivered/s**: from the first connection until the sink has the last message.
- **CPU s per 1,000**: processor seconds of all processes of the mail server, per 1,000 messages.
- **peak MiB**: proportional memory of all its processes.
- **written**, **flushes**: what the block device counted meanwhile, so others' writes count too.
{durability}
Postfix is set as in the figures that our bars were taken from: `default_process_limit=200`,
`default_destination_concurrency_limit=100`, `initial_destination_concurrency=20`, `in_flow_delay=0`. The others
run as they come, with logins, TLS and checks of content off.
"""

REPEAT = """\
## Repeating it

    make bench                      # about an hour, as root, on a machine that does nothing else
    tests/bench/run --only s20-4k   # one load
    tests/bench/run --quick         # less than a minute, the relay and Postfix
    tests/bench/run --peer NAME=PROGRAM   # another mail server; see --help
    tests/bench/instructions check  # instructions per message, the same on every run
"""


def number(value):
    if value is None:
        return "–"
    return f"{value:,}" if isinstance(value, int) else f"{value:,.3f}".rstrip("0").rstrip(".")


def row(*cells):
    return f"| {' | '.join(cells)} |\n"


def table(head, rows):
    return row(*head) + "|---" * len(head) + "|\n" + "".join(row(*cells) for cells in rows) + "\n"


def reason(found):
    return found.get("unable") or found.get("failed")


def limit_of(results, load, octets):
    """Messages per second from the client straight to the sink, for what is sent by `smtp-source`."""
    if load.startswith(("latency", "destinations")):
        return None
    kind = "100k" if octets > 4096 else "4k_reused" if load.endswith("-d") else "4k"
    return results["limits"][f"straight_{kind}_per_second"]


def load_section(results, name):
    load = results["loads"][name]
    found = load["peers"]
    columns = {
        key: title for key, title in ({**TIMES, **COLUMNS} if name.startswith("latency")
                                      else COLUMNS).items()
        if any(key in figures for figures in found.values())
    }
    postfix = found.get("postfix", {}).get("delivered_per_second")
    limit = limit_of(results, name, load["octets"])
    head = ["", *columns.values(), "to Postfix", *(["to no relay at all"] if limit else [])]
    rows, notes = [], []
    for peer, figures in found.items():
        title = results["peers"][peer]
        if why := reason(figures):
            notes.append(f"{title}: {why}.")
            rows.append([title, *["–"] * (len(head) - 1)])
            continue
        rate = figures["delivered_per_second"]
        rows.append([title, *(number(figures.get(key)) for key in columns),
                     f"{rate / postfix:.2f}" if postfix else "–",
                     *([f"{rate / limit:.2f}"] if limit else [])])
    text = f"### {load['title']}\n\n" + table(head, rows)
    return text + "".join(f"{line}\n" for line in [*notes, *winners(results, found, columns)]) + "\n"


def winners(results, found, columns):
    """Where a peer is better than the relay."""
    ours = found["ours"]
    for key, title in columns.items():
        if key not in ours:
            continue
        more = key.endswith("per_second")
        better = [results["peers"][peer] for peer, figures in found.items()
                  if key in figures and (figures[key] > ours[key] if more else figures[key] < ours[key])]
        if better:
            yield f"Better than this relay in {title}: {', '.join(better)}."


def dead_section(results):
    found = results["dead"]
    columns = {
        "messages": "messages", "accepted_per_second": "accepted/s", "peak_memory_mib": "peak MiB",
        "living_seconds": "s to a living destination", "recovery_seconds": "recovery s",
        "living_seconds_after_recovery": "s to a living destination, recovered",
        "memory_after_recovery_mib": "MiB, recovered",
    }
    rows, notes = [], []
    for peer, figures in found.items():
        title = results["peers"][peer]
        if why := reason(figures):
            notes.append(f"{title}: {why}.\n")
        rows.append([title, *(number(figures.get(key)) for key in columns)])
    return ("### A queue full of mail to a destination that does not answer\n\n"
            "1 KiB, 100 sessions, connections reused. Postfix: as many as it took in the time it was given. "
            "Recovery is from `kill -9` and a start until mail is taken; every message was still there.\n\n"
            + table(["", *columns.values()], rows) + "".join(notes) + "\n")


def bars_section(results):
    rows = [
        [bar["bar"], f"{'≤' if bar['at_most'] else '≥'} {number(bar['limit'])} {bar['unit']}",
         number(bar["value"]),
         "–" if bar["met"] is None else "met" if bar["met"] else "**not met**"]
        for bar in results["bars"]
    ]
    return "## Bars\n\n" + table(["", "bar", "measured", ""], rows)


def limits_section(results):
    limits = results["limits"]
    rows = [
        ["append of 4 KiB and fdatasync, alone", f"{number(limits['synced_appends_per_second'])}/s, "
         f"p50 {number(limits['sync_p50_ms'])} ms"],
        [f"the same, {limits['group']} appends for each fdatasync",
         f"{number(limits['grouped_appends_per_second'])}/s"],
        ["client straight to sink, s20 4 KiB", f"{number(limits['straight_4k_per_second'])}/s"],
        ["the same, connections reused", f"{number(limits['straight_4k_reused_per_second'])}/s"],
        ["client straight to sink, s20 100 KiB", f"{number(limits['straight_100k_per_second'])}/s"],
        ["RSA-2048 signatures on one core (AWS-LC, as in the relay)",
         f"{number(limits['rsa_2048_signatures_per_second'])}/s"],
        ["Ed25519 signatures on one core (AWS-LC)",
         f"{number(limits['ed25519_signatures_per_second'])}/s"],
    ]
    return "## Limits of the machine in the same run\n\n" + table(["", ""], rows)


def machine_text(results):
    machine = results["machine"]
    versions = results["versions"]
    shown = ", ".join(f"{results['peers'].get(name, 'OpenDKIM')} {text}"
                      for name, text in versions.items())
    return (f"{machine['cores']} cores ({machine['processor'] or machine['architecture']}), "
            f"{number(machine['memory_gib'])} GiB, Linux {machine['kernel']}, "
            f"{machine['file_system']}; load average before the run {number(machine['load_before'])}.\n"
            f"Versions: {shown}.")


def durability_text(results):
    """With one session no two messages can share a flush, so fewer flushes than messages mean that replies did
    not wait for the disk."""
    if not results["machine"]["counts_flushes"]:
        return "- This machine does not count flushes.\n"
    found = results["loads"].get("latency-1", {}).get("peers", {})
    early = [results["peers"][peer] for peer, figures in found.items()
             if figures.get("flushes_per_message", 1) < 0.9]
    said = f"Not so: {', '.join(early)}." if early else "That holds for all."
    return ("- **Durability**: each has its default. With one session, who answers 250 only for what is on the "
            f"disk flushes at least once for each message. {said}\n")


def chart(results):
    """Horizontal bars of messages delivered per second, one group for each load."""
    groups = [
        (load["title"], [(peer, figures["delivered_per_second"])
                         for peer, figures in load["peers"].items()
                         if "delivered_per_second" in figures])
        for name, load in results["loads"].items() if not name.startswith("latency")
    ]
    names = list(results["peers"])
    most = max((rate for _, rates in groups for _, rate in rates), default=1)
    left, width, height, top = 20, 640, 14, 44
    parts, at = [], top
    for title, rates in groups:
        parts.append(f'<text x="{left}" y="{at + 11}" font-weight="600">{html.escape(title)}</text>')
        at += 18
        for peer, rate in rates:
            length = max(rate / most * width, 1)
            colour = COLOURS[names.index(peer) % len(COLOURS)]
            parts.append(f'<rect x="{left}" y="{at}" width="{length:.1f}" height="{height - 3}" '
                         f'fill="{colour}"/>'
                         f'<text x="{left + length + 6:.1f}" y="{at + 10}">{rate:,}</text>')
            at += height
        at += 10
    legend, x = [], left
    for index, peer in enumerate(names):
        title = results["peers"][peer]
        legend.append(f'<rect x="{x}" y="14" width="11" height="11" fill="{COLOURS[index % len(COLOURS)]}"/>'
                      f'<text x="{x + 16}" y="24">{html.escape(title)}</text>')
        x += 16 + 7 * len(title) + 24
    return (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 760 {at}" '
            'font-family="sans-serif" font-size="11" fill="#1f2328" role="img" '
            'aria-label="Messages delivered per second">\n'
            f'<rect width="760" height="{at}" fill="#ffffff"/>\n'
            + "\n".join([*legend, *parts]) + "\n</svg>\n")


def page(results):
    text = HEAD.format(machine=machine_text(results), rounds=results["rounds"], slow=SLOW,
                       durability=durability_text(results))
    text += "\n" + bars_section(results) + limits_section(results) + "## Loads\n\n"
    text += "".join(load_section(results, name) for name in results["loads"])
    if "dead" in results:
        text += dead_section(results)
    if results["failures"]:
        text += "## Failures\n\n" + "".join(
            f"- {failure.splitlines()[0]}\n" for failure in results["failures"]) + "\n"
    return text + REPEAT


def write(results, directory):
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "performance.json").write_text(
        json.dumps(results, indent=2, ensure_ascii=False) + "\n")
    (directory / "performance.md").write_text(page(results))
    (directory / "performance.svg").write_text(chart(results))

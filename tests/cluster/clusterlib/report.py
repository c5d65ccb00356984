"""What the harness says while it works, and how it gives up.

Progress goes to standard error, so that standard output stays one answer that
a script can take (a path, as a rule).
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import TypeVar

Result = TypeVar("Result")

_started = time.monotonic()

#: Pause between two looks at something awaited, in seconds.
POLL_INTERVAL = 0.15


class ClusterError(Exception):
    """The harness cannot go on; the message is for a person."""


def step(message: str) -> None:
    """Prints one progress line with the seconds since the command's start."""
    print(f"cluster {time.monotonic() - _started:6.1f}s  {message}", file=sys.stderr, flush=True)


def wait_for(what: str, probe: Callable[[], Result | None], limit: float) -> Result:
    """Looks until `probe` gives a true value, and returns that value.

    `OSError` from the probe counts as "not yet" (a refused connection, a
    missing file); a `ClusterError` ends the wait at once.
    """
    deadline = time.monotonic() + limit
    last = "nothing seen"
    while True:
        try:
            found = probe()
        except OSError as error:
            found, last = None, str(error)
        if found:
            return found
        if time.monotonic() > deadline:
            raise ClusterError(f"{what}: not seen within {limit:.0f} s ({last})")
        time.sleep(POLL_INTERVAL)

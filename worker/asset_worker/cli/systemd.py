"""What systemd says of a unit."""

from __future__ import annotations

import subprocess
from typing import Final

TIMEOUT_SECONDS: Final = 2.0
"""systemd answers in milliseconds; while it hangs, the rest is shown without it."""


def unit_state(unit: str) -> str | None:
    """Return the state of a unit, as in `active (running)` or `failed (exit-code)`; None: systemd can't say.

    A unit of the system is looked for first, and then one of this user.
    """
    return _state_of(unit, "--system") or _state_of(unit, "--user")


def _state_of(unit: str, manager: str) -> str | None:
    command = ["systemctl", manager, "show", "--property=LoadState,ActiveState,SubState,Result", "--", unit]
    try:
        shown = subprocess.run(  # noqa: S603 - the unit is one argument, after `--`
            command, capture_output=True, check=True, timeout=TIMEOUT_SECONDS, stdin=subprocess.DEVNULL
        ).stdout.decode(errors="replace")
    except (OSError, subprocess.SubprocessError):
        return None
    values = dict(line.split("=", 1) for line in shown.splitlines() if "=" in line)
    active = values.get("ActiveState")
    if not active or values.get("LoadState") == "not-found":
        return None
    more = values.get("Result") if active == "failed" else values.get("SubState")
    return f"{active} ({more})" if more else active

"""What an interrupted run says at its end: what is kept, and how to go on. Pure functions."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from asset_worker.runtime.text import visible

IDS_NAMED: Final = 20
"""With more assets than these, the command that waits for them again would fill the terminal."""


def kept(pending: int, directory: Path) -> str:
    """Return the sentence of a run that keeps its state in a directory."""
    if not pending:
        return "nothing is pending"
    assets = "1 pending asset is" if pending == 1 else f"{pending} pending assets are"
    return f"{assets} kept in {visible(str(directory))}; start again to go on"


def not_kept(pending: int, asset_ids: Sequence[str]) -> str:
    """Return the sentence of a run that keeps nothing. `asset_ids` are those of the pending assets, or some of them."""
    if not pending:
        return "nothing is kept, and nothing was pending"
    if pending > len(asset_ids):
        return f"nothing is kept; {pending} assets were still pending: wait for them again"
    return f"nothing is kept; wait again with: asset-worker wait {' '.join(asset_ids)}"

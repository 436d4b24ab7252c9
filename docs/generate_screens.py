"""Draws the pictures of docs/screens: what the worker shows on a terminal, made by its own code from made-up assets.

`make reference` runs it. A test compares the pictures with what this draws.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import DIMMED_MONOKAI
from rich.text import Text

from asset_worker.cli.screen.event_lines import event_line
from asset_worker.cli.screen.frames import frame
from asset_worker.cli.screen.scene import AssetRow, Scene
from asset_worker.cli.screen.spans import Line, styled
from asset_worker.domain.assets import AssetId, Done, Outcome, asset_from
from asset_worker.domain.events import Times, completed
from asset_worker.domain.submissions import Submission
from asset_worker.schedule.forecast import Forecast
from asset_worker.telemetry.problems import Problem, Reason

FOLDER = Path(__file__).parent / "screens"
COLUMNS = 96
FONTS = re.compile(r"@font-face \{.*?\}\n", re.DOTALL)
"""Where rich's pictures load a font from the network."""
IDS = [f"6298d673f1090f11004{number:05x}" for number in (0x76D4C, 0x76D51, 0x76E02, 0x76E1F, 0x76F90)]


def main() -> None:
    """Write the pictures."""
    FOLDER.mkdir(exist_ok=True)
    for name, picture in pictures():
        (FOLDER / name).write_text(picture)


def pictures() -> Iterator[tuple[str, str]]:
    """Yield the name and the SVG of each picture."""
    yield "wait.svg", _drawn("asset-worker wait …", _few())
    yield "run.svg", _drawn("asset-worker run --queue-file /var/spool/assets", _many())


def _few() -> list[Line]:
    rows = [
        AssetRow(IDS[2], 48, "hls + thumbnail", "interview-cut-3.mp4", "video/mp4", Forecast(14, 38)),
        AssetRow(IDS[3], 48, "processing", "動画.mov", "video/quicktime", Forecast(95, 260)),
        AssetRow(IDS[4], 12, "not visible yet"),
    ]
    scene = Scene(title="waiting", elapsed=48, pending=3, requests=19, outcomes={"ready": 1, "failed": 1}, assets=rows)
    return [
        _event(IDS[0], Outcome.READY, "clip.mp4", 12.3),
        _event(IDS[1], Outcome.FAILED, "draft.mp4", 31.0, "The video has no frames."),
        *frame(scene, columns=COLUMNS, rows=20),
    ]


def _many() -> list[Line]:
    outage = Problem(
        Reason.API_UNAVAILABLE,
        "the API is unavailable",
        since=51_720.0,
        last_error="503 Service Unavailable",
        next_try=51_750.0,
    )
    scene = Scene(
        title="asset-worker",
        elapsed=312,
        pending=218,
        requests=411,
        outcomes={"ready": 771, "degraded": 4, "failed": 7},
        waiting={"asset": 160, "hls": 58, "thumbnail": 31},
        left=Forecast(140, 300),
        problems=[outage],
        now=51_742.0,
    )
    return [
        _event(IDS[3], Outcome.READY, "keynote.mp4", 118.0),
        _event(IDS[0], Outcome.READY, "clip.mp4", 64.5),
        *frame(scene, columns=COLUMNS, rows=20),
    ]


def _event(asset_id: str, outcome: Outcome, filename: str, took: float, reason: str | None = None) -> Line:
    status = "failed" if outcome is Outcome.FAILED else "ready"
    names = () if outcome is Outcome.FAILED else ("hls", "thumbnail")
    renditions = {name: {"status": "ready"} for name in names}
    asset = asset_from({"_id": asset_id, "status": status, "filename": filename, **renditions})
    event = completed(
        Submission(AssetId(asset_id), "command", 1),
        Done(outcome, reason),
        asset=asset,
        completion=1,
        times=Times(0.0, took),
        polls=3,
        source="https://api.twelvelabs.io/v1.3/assets",
        redact=lambda value: value,
    )
    return event_line(event.body, columns=COLUMNS)


def _drawn(command: str, lines: list[Line]) -> str:
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True, color_system="truecolor")
    for line in lines:
        console.print(Text.from_ansi(styled(line)), no_wrap=True, overflow="crop")
    svg = console.export_svg(title=command, theme=DIMMED_MONOKAI, unique_id="screen")
    return re.sub(r"[ \t]+$", "", FONTS.sub("", svg), flags=re.MULTILINE)


if __name__ == "__main__":
    main()

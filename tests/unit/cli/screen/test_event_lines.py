"""Events as lines for people: whole where there is room, and sensibly cut where there is not."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asset_worker.cli.screen.event_lines import event_line
from asset_worker.cli.screen.spans import width_of, without_styles
from asset_worker.domain.assets import Outcome
from tests.doubles.looks import ID, decided, lease, seen

DATA = {
    "asset_id": ID,
    "outcome": "ready",
    "reason": None,
    "renditions": {"hls": "ready", "thumbnail": "ready"},
    "asset": {"filename": "clip.mp4"},
    "submitted_at": "2026-11-23T14:00:00.123Z",
    "completed_at": "2026-11-23T14:00:12.423Z",
    "submission": {"source": "file:/var/spool/queue:12", "metadata": {}},
}


def body(word=None, **data):
    merged = DATA | data
    event = {"type": f"dev.asset-worker.asset.{word or merged['outcome']}", "time": "2026-11-23T14:00:08.223Z"}
    return json.dumps({**event, "data": merged}).encode()


def line(columns, **event):
    return without_styles(event_line(body(**event), columns=columns))


FAILED = {"outcome": "failed", "reason": "The video has no frames that can be decoded."}
REJECTED = {
    "outcome": "rejected",
    "asset_id": None,
    "asset": None,
    "renditions": {"hls": None, "thumbnail": None},
    "line": "../../etc/passwd",
    "reason": "an asset ID has 1 to 64 letters",
}
STEP = {"word": "processed", "outcome": None, "completed_at": None, "renditions": {"hls": "processing"}}


@pytest.mark.parametrize(
    ("columns", "event", "expected"),
    [
        (120, {}, f"ready      {ID}  clip.mp4  12.3 s  hls ready · thumbnail ready"),
        (80, {}, f"ready  {ID}  clip.mp4  12.3 s  hls ready · thumbnail ready"),
        (50, {}, "ready  6298…6d4c  clip.mp4  12.3 s"),
        (20, {}, "ready  6298…6d4c"),
        (80, {"asset": None, "renditions": {}}, f"ready  {ID}  12.3 s"),
        (80, {"asset": {"filename": 7}}, f"ready  {ID}  12.3 s  hls ready · thumbnail ready"),
        (120, FAILED, f"failed     {ID}  clip.mp4  12.3 s  {FAILED['reason']}"),
        (80, FAILED, "failed  6298…6d4c  clip.mp4  12.3 s  The video has no frames that can be decode…"),
        (50, FAILED, "failed  6298…6d4c  clip.mp4  The video has no fra…"),
        (80, REJECTED, "rejected  queue:12  ../../etc/passwd  an asset ID has 1 to 64 letters"),
        (50, REJECTED, "rejected  queue:12  ../../e…  an asset ID has 1 t…"),
        (80, STEP, f"processed  {ID}  clip.mp4  8.1 s  hls processing"),
    ],
)
def test_what_is_shown(columns, event, expected):
    assert line(columns, **event) == expected


def test_colours_are_of_the_outcome_alone():
    spans = event_line(body(**FAILED), columns=80)
    assert [(span.text, span.style) for span in spans if span.style] == [("failed", "red")]


def test_every_event_that_the_worker_makes_has_a_line():
    found = decided(lease(), seen("ready", hls={"status": "ready"}, filename="clip.mp4"))
    assert without_styles(event_line(found.event.body, columns=80)) == f"ready  {ID}  clip.mp4  10.0 s  hls ready"


@pytest.mark.parametrize(
    "damaged", [b"", b"{", b"[]", b"{}", b'{"type": 1}', body()[:-9], body(submitted_at="x"), b"\x1b[\xff"]
)
def test_an_event_that_cannot_be_read_is_shown_as_it_is(damaged):
    found = without_styles(event_line(damaged, columns=40))
    assert len(found) <= 40
    assert found.isprintable()
    assert bool(found) == bool(damaged)


TEXTS = st.text(max_size=60)


@given(
    outcome=st.sampled_from(list(Outcome)[:-1]),
    asset_id=st.from_regex(r"[A-Za-z0-9_-]{1,64}", fullmatch=True),
    filename=TEXTS,
    reason=st.none() | TEXTS,
    columns=st.integers(1, 200),
)
def test_whatever_it_holds_a_line_fits_and_nothing_in_it_controls_a_terminal(
    outcome, asset_id, filename, reason, columns
):
    found = event_line(
        body(outcome=outcome.value, asset_id=asset_id, asset={"filename": filename}, reason=reason), columns=columns
    )
    text = without_styles(found)
    assert width_of(found) <= columns
    assert not any(character in text for character in "\x1b\n\r\x9b\u202e\u2028")
    if columns >= 24:
        assert text.startswith(outcome.value)
        assert asset_id[:4] in text
        assert asset_id[-4:] in text

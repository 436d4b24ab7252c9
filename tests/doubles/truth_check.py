"""Compares completion events with the truth, and with what the API had shown: the law of false outcomes.

An outcome is false if the asset, as it is, doesn't bear it out; a document is false if the asset never had it. Neither
may happen, with one exception: an answer of a list in a proven shape that nothing seen before contradicts. Of those, at
most `MOST_UNAUDITED` are settled after the shape's last agreeing audit, and a contradicted audit names them in the log.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec

from tests.doubles.world import EPOCH, Answer, Document, World

MOST_UNAUDITED = 50
CONFIRMATIONS = 3
MILLISECONDS = 0.001
"""Times in events are cut to milliseconds, so that much may have been cut off."""
IDENTITY = ("created_at", "filename", "file_type", "method")
RENDITIONS = ("hls", "thumbnail")
ENDED = ("ready", "error")


class Expected(msgspec.Struct, frozen=True):
    """What is awaited of an asset, and since when."""

    accepted: float
    """In the loop's time."""
    deadline: float
    rendition_deadline: float
    grace: float
    wait_for: Mapping[str, str] = {}


Shape = tuple[Any, ...]


def end_of(document: Document | None, wait_for: Mapping[str, str]) -> tuple[str, str | None] | None:
    """The outcome that a document alone makes, and the API's reason for a failure; None: it makes none."""
    if document is None or document.get("status") not in {"ready", "failed"}:
        return None
    if document["status"] == "failed":
        return "failed", (document.get("error") or {}).get("message")
    statuses = awaited(document, wait_for)
    if any(status not in ENDED for status in statuses):
        return None
    return ("degraded" if "error" in statuses else "ready"), None


def awaited(document: Document, wait_for: Mapping[str, str]) -> list[str | None]:
    """The status of each awaited rendition; None: it is not shown."""
    shown = {name: _status(document.get(name)) for name in RENDITIONS}
    modes = {name: wait_for.get(name, "if_requested") for name in RENDITIONS}
    return [
        status
        for name, status in shown.items()
        if modes[name] == "required" or (modes[name] == "if_requested" and status is not None)
    ]


def _status(rendition: Any) -> str | None:
    return rendition.get("status") if isinstance(rendition, dict) else None


def shape_of(document: Document) -> Shape:
    """The shape of a document, as the design defines it."""
    family = str(document.get("file_type")).partition("/")[0]
    renditions = tuple(
        (name, _status(document[name]), tuple(sorted(document[name])))
        for name in RENDITIONS
        if isinstance(document.get(name), dict)
    )
    return family, document.get("status"), renditions, tuple(sorted(set(document) - {"user_metadata"}))


class _Settled(msgspec.Struct, frozen=True):
    """One asset that was settled from a list's own document."""

    asset_id: str
    shape: Shape
    answer: Answer
    at: float
    is_false: bool


class _Audit(msgspec.Struct, frozen=True):
    """A retrieve that followed a list's terminal document of the same asset."""

    shape: Shape
    at: float
    agrees: bool


class Findings(msgspec.Struct):
    """What the law forbids, in words; and the false settlements that it allows."""

    violations: list[str]
    excused: list[str]
    """The IDs."""


def check(
    world: World, events: Sequence[Mapping[str, Any]], expected: Mapping[str, Expected], contradicted: Sequence[str]
) -> Findings:
    """Compare the events with the truth. `contradicted` are the IDs that the log named in `api.list_contradicted`."""
    violations, excused = [], []
    if sorted(each["subject"] for each in events) != sorted(expected):
        counts = {each: sum(event["subject"] == each for event in events) for each in expected}
        violations.append(f"not settled once: { {each: count for each, count in counts.items() if count != 1} }")
    audits = [each for asset_id in expected for each in _audits(world, asset_id, expected[asset_id])]
    settled: list[_Settled] = []
    for event in events:
        asset_id, data = event["subject"], event["data"]
        completed = datetime.fromisoformat(data["completed_at"]).timestamp() - EPOCH + MILLISECONDS
        # A list that measures how far lists lag may show the asset once more, after it was settled.
        seen = [each for each in world.answers[asset_id] if each.seen <= completed]
        latest = [each for each in seen if each.seen >= completed - 2 * MILLISECONDS] or seen[-1:]
        judged = [(_wrong(world, asset_id, data, completed, each, expected[asset_id]), each) for each in latest]
        # Of several answers within the millisecond, any may have made the outcome.
        wrong, answer = next((each for each in reversed(judged) if each[0] is None), judged[-1])
        ends = answer.document is not None and end_of(answer.document, expected[asset_id].wait_for) is not None
        if answer.is_list and ends:
            settled.append(_Settled(asset_id, shape_of(answer.document or {}), answer, completed, wrong is not None))
        if wrong is None:
            continue
        said = f"{asset_id} at {completed:.1f}: {data['outcome']} ({data['reason']}): {wrong}"
        if not answer.is_list:
            violations.append(f"{said}; from a retrieve at {answer.at:.1f}")
        elif not ends:
            violations.append(f"{said}; from a list that made no outcome")
        elif (why := _inexcusable(world, settled[-1], audits)) is not None:
            violations.append(f"{said}; from a list: {why}")
        else:
            excused.append(asset_id)
    violations += _too_many(settled, audits)
    violations += _unnamed(settled, audits, set(contradicted))
    return Findings(violations, excused)


def _wrong(
    world: World, asset_id: str, data: Mapping[str, Any], completed: float, answer: Answer, expected: Expected
) -> str | None:
    """What is false in an event; None: nothing."""
    truth = world.assets.get(asset_id)
    now = None if truth is None else truth.at(min(completed, truth.deleted - 0.001))
    at_answer = None if truth is None else truth.at(answer.at)
    age = completed - expected.accepted
    outcome = data["outcome"]
    is_clocked = outcome in {"timed_out", "not_found"} or "still" in (data["reason"] or "")
    if is_clocked and answer.is_list:
        return "an outcome of the clock, without a retrieve"
    if not is_clocked:
        if (end := end_of(now, expected.wait_for)) is None or end[0] != outcome:
            return f"it is {now}"
        if outcome == "failed" and data["reason"] != end[1]:
            return f"its error is {end[1]}"
    elif end_of(at_answer, expected.wait_for) is not None:
        return f"it had ended: {at_answer}"
    elif outcome == "not_found":
        waited = datetime.fromisoformat(data["completed_at"]) - datetime.fromisoformat(data["submitted_at"])
        looks = [each for each in world.answers[asset_id] if each.seen > completed - waited.total_seconds()]
        was_seen = _was_seen(looks, expected.wait_for)
        gone = truth.deleted if truth is not None and was_seen else expected.accepted
        if at_answer is not None or completed - gone < expected.grace:
            return f"it was {at_answer}, missing for {completed - gone:.3f} s"
    elif outcome == "timed_out":
        if age < expected.deadline:
            return f"only {age} s after acceptance"
    else:
        assert truth is not None
        since = min(max(truth.ready_at, expected.accepted), _ready_since(world, asset_id))
        late = completed - since >= expected.rendition_deadline
        if not (late or (age >= expected.deadline and "error" in awaited(at_answer or {}, expected.wait_for))):
            return f"ready only since {truth.ready_at:.1f}"
    shown = data["asset"]
    if answer.document is not None and (truth is None or not truth.ever_showed(shown, completed)):
        return f"it never was {shown}"
    return None


def _was_seen(answers: Sequence[Answer], wait_for: Mapping[str, str]) -> bool:
    """Whether a look saw the asset.

    A list that a retrieve at once contradicted doesn't count, nor one that shows an end: no retrieve has confirmed it,
    or else the asset would have been settled.
    """
    for answer, after in itertools.zip_longest(answers, answers[1:]):
        if answer.document is None:
            continue
        is_contradicted = after is not None and not after.is_list and after.document is None
        if not answer.is_list or not (is_contradicted or end_of(answer.document, wait_for)):
            return True
    return False


def _ready_since(world: World, asset_id: str) -> float:
    """When the rendition deadline may begin: at the first look that showed `ready`, as far as nothing contradicts it.

    A list that shows `ready` too early, without an outcome, is believed like one that shows `processing`.
    """
    for answer in world.answers[asset_id]:
        is_believed = not answer.is_list or _contradiction(world, asset_id, answer) is None
        if is_believed and answer.document is not None and answer.document.get("status") == "ready":
            return answer.at
    return math.inf


def _contradiction(world: World, asset_id: str, answer: Answer) -> str | None:
    """What the last retrieve of the asset, or a list since then, says against an answer of a list; None: nothing."""
    shown = answer.document or {}
    for earlier in reversed(world.answers[asset_id]):
        if earlier.number >= answer.number:
            continue
        was = earlier.document or {}
        for name in IDENTITY:
            if name in was and was[name] != shown.get(name):
                return f"its {name} was {was[name]} at {earlier.at:.1f}, and is {shown.get(name)}"
        for name in RENDITIONS:
            if name in was and name not in shown:
                return f"its {name} was shown at {earlier.at:.1f}"
        if not earlier.is_list:
            return None
    return None


def _audits(world: World, asset_id: str, expected: Expected) -> list[_Audit]:
    """The retrieves that confirmed or contradicted a terminal document of a list."""
    found = []
    answers = world.answers.get(asset_id, [])
    for before, after in itertools.pairwise(answers):
        if before.is_list and not after.is_list and before.document is not None:
            listed = end_of(before.document, expected.wait_for)
            if listed is not None:
                retrieved = end_of(after.document, expected.wait_for)
                same = after.document is not None and all(
                    before.document.get(name) == after.document.get(name) for name in IDENTITY
                )
                found.append(_Audit(shape_of(before.document), after.seen, same and listed == retrieved))
    return found


def _inexcusable(world: World, one: _Settled, audits: Sequence[_Audit]) -> str | None:
    """Why a false settlement from a list should not have been made; None: nothing was against it."""
    contradicted = max((each.at for each in audits if not each.agrees and each.at < one.at), default=-math.inf)
    agreed = sum(each.shape == one.shape and each.agrees and contradicted < each.at <= one.at for each in audits)
    if agreed < CONFIRMATIONS:
        return f"the shape {one.shape} was not proven: {agreed} confirmations since {contradicted:.1f}"
    return _contradiction(world, one.asset_id, one.answer)


def _too_many(settled: Sequence[_Settled], audits: Sequence[_Audit]) -> list[str]:
    """The shapes of which too many were settled from lists without an audit, if one of those was false."""
    found = []
    for shape in {each.shape for each in settled}:
        agreed = sorted(each.at for each in audits if each.shape == shape and each.agrees)
        for start, end in zip([-math.inf, *agreed], [*agreed, math.inf], strict=True):
            window = [each for each in settled if each.shape == shape and start < each.at <= end]
            if len(window) > MOST_UNAUDITED and any(each.is_false for each in window):
                found.append(f"{len(window)} settled from lists between audits at {start:.1f} and {end:.1f}: {shape}")
    return found


def _unnamed(settled: Sequence[_Settled], audits: Sequence[_Audit], named: set[str]) -> list[str]:
    """The false settlements that a contradicted audit of their shape did not name, although it was the next one."""
    found = []
    for one in settled:
        later = min(
            (each for each in audits if each.shape == one.shape and each.at > one.at),
            key=lambda each: each.at,
            default=None,
        )
        if one.is_false and later is not None and not later.agrees and one.asset_id not in named:
            found.append(f"{one.asset_id}, settled at {one.at:.1f}, is not named by the audit at {later.at:.1f}")
    return found

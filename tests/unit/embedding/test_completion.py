"""What a wait returns, and the errors that are made of it where that is asked for."""

from __future__ import annotations

import pickle
from datetime import UTC, datetime

import pytest

import asset_worker
from asset_worker.domain.assets import Done, Outcome, asset_from
from asset_worker.domain.events import Times, completed
from asset_worker.domain.submissions import Options, Submission
from asset_worker.embedding import errors
from asset_worker.embedding.completion import completion_of

ID = "6298d673f1090f1100476d4c"
DOCUMENT = {"_id": ID, "status": "ready", "hls": {"status": "ready"}, "new_field": [1]}


def completion(outcome=Outcome.READY, reason=None, document=DOCUMENT):
    event = completed(
        Submission(ID, "python", 0, Options(metadata={"user": "ada"})),
        Done(outcome, reason),
        asset=document and asset_from(document),
        completion=2,
        times=Times(1_000_000.0, 1_000_010.5, 1_000_005.25, None),
        polls=3,
        source="s",
        redact=lambda data: data,
    )
    return completion_of(event.body)


def test_a_completion_has_what_the_event_says():
    it = completion()
    assert (it.asset_id, it.outcome, it.reason, it.polls, it.id) == (ID, "ready", None, 3, f"{ID}.2")
    assert (it.renditions, it.asset, it.metadata) == ({"hls": "ready", "thumbnail": None}, DOCUMENT, {"user": "ada"})
    assert it.submitted_at == datetime.fromtimestamp(1_000_000, UTC)
    assert (it.ready_at, it.last_seen_waiting_at) == (datetime.fromtimestamp(1_000_005.25, UTC), None)
    assert it.event["data"]["completed_at"] == it.completed_at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    assert it.is_ready
    assert it.raise_for_outcome() is it


@pytest.mark.parametrize(
    ("outcome", "error"),
    [
        (Outcome.FAILED, errors.AssetFailed),
        (Outcome.DEGRADED, errors.AssetDegraded),
        (Outcome.NOT_FOUND, errors.AssetNotFound),
        (Outcome.TIMED_OUT, errors.AssetTimeout),
    ],
)
def test_each_other_outcome_is_an_error_where_that_is_asked_for(outcome, error):
    it = completion(outcome, "why")
    assert not it.is_ready
    with pytest.raises(error) as raised:
        it.raise_for_outcome()
    assert isinstance(raised.value, errors.AssetNotReady)
    assert isinstance(raised.value, TimeoutError) == (outcome is Outcome.TIMED_OUT)
    assert str(raised.value) == f"asset {ID}: {outcome.value} (why)"
    assert raised.value.completion is it


def test_a_completion_and_its_error_pass_through_a_pickle():
    """As between the processes of Celery or multiprocessing."""
    it = completion(Outcome.FAILED, "why", document=None)
    with pytest.raises(errors.AssetFailed) as raised:
        it.raise_for_outcome()
    again = pickle.loads(pickle.dumps(raised.value))
    assert (type(again), str(again), again.completion) == (errors.AssetFailed, str(raised.value), it)


def test_every_public_name_is_there_and_documented():
    for name in asset_worker.__all__:
        assert getattr(asset_worker, name) is not None
        assert name in dir(asset_worker)
        assert name == "__version__" or getattr(asset_worker, name).__doc__
    with pytest.raises(AttributeError, match="no attribute 'clint'"):
        getattr(asset_worker, "clint")  # noqa: B009


def test_the_errors_are_drawn_as_they_are():
    """The tree at the head of the module."""
    drawn = {line.split("─ ")[1].split()[0] for line in errors.__doc__.splitlines() if "─ " in line}
    defined = {name for name, value in vars(errors).items() if isinstance(value, type)} - {"AssetWorkerError"}
    assert drawn == defined
    assert defined <= set(asset_worker.__all__)

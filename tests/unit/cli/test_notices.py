"""What `wait` says about single assets."""

from __future__ import annotations

import pytest

from asset_worker.cli.notices import MOST, Notices
from asset_worker.domain.assets import Asset, Done, Expectations, Missing, Outcome, Unanswered, asset_from
from asset_worker.domain.events import Event
from asset_worker.domain.progress import LastSeen, Progress
from asset_worker.domain.submissions import Options, Submission
from asset_worker.poller.decide import Defer, Settle
from asset_worker.queue.ports import Lease
from asset_worker.runtime.redaction import REDACTED, Secrets
from asset_worker.schedule.ports import WaitState
from tests.doubles.looks import ID, decided, seen
from tests.doubles.looks import lease as lease_of

IDS = [f"{number:024x}" for number in range(20)]

GOES_ON = Defer(2.0, Progress(1), WaitState(1))
SHOWN: Asset = asset_from({"_id": ID, "status": "processing"})


def lease(asset_id=ID, progress=None, options=None):
    submission = Submission(asset_id, "command", 1, options)
    return Lease(submission, 0.0, 0.5, None, None, 1, progress or Progress())


def ended(outcome, reason=None):
    return Settle(Done(outcome, reason), Event("1", outcome, b"{}"), Progress(1))


def notices(expectations=None, *, only_outcomes=False, **options):
    lines: list[str] = []
    return Notices(expectations or Expectations(), lines.append, only_outcomes=only_outcomes, **options), lines


@pytest.mark.parametrize(
    ("expectations", "options", "longest"),
    [
        (Expectations(), None, "60 s"),
        (Expectations(not_found_grace=90.5), None, "90.5 s"),
        (Expectations(not_found_grace=86_400.0), None, "4 h"),
        (Expectations(deadline=10.0), None, "10 s"),
        (Expectations(), Options(deadline=7.0), "7 s"),
    ],
)
def test_it_says_that_an_id_is_not_known_yet_and_how_long_it_waits(expectations, options, longest):
    said, lines = notices(expectations)
    said.looked(lease(options=options), Missing(), GOES_ON)
    assert lines == [f"{ID}: the API doesn't know this ID yet; waiting up to {longest}"]


@pytest.mark.parametrize(
    ("observation", "before"),
    [
        (Missing(), LastSeen("missing")),
        (Missing(), LastSeen("processing")),
        (SHOWN, None),
        (Unanswered("503"), None),
    ],
    ids=["it was said before", "it was seen before", "it is known", "nothing is known"],
)
def test_it_says_nothing_while_a_wait_simply_goes_on(observation, before):
    said, lines = notices()
    said.looked(lease(progress=Progress(1, last_seen=before)), observation, GOES_ON)
    assert lines == []


def test_it_says_why_an_asset_is_not_ready_and_nothing_of_one_that_is():
    said, lines = notices()
    said.looked(lease(), SHOWN, ended(Outcome.READY))
    said.looked(lease(), Missing(), ended(Outcome.NOT_FOUND, "the API knows no such asset"))
    said.looked(lease(), SHOWN, ended(Outcome.FAILED))
    said.looked(lease(), SHOWN, ended(Outcome.FAILED, "x" * 1000))
    assert lines == [
        f"{ID}: not found: the API knows no such asset",
        f"{ID}: failed",
        f"{ID}: failed: {'x' * 299}…",
    ]
    assert (said.settled, said.not_ready) == (4, 3)


def test_when_it_must_be_quiet_it_says_only_what_is_not_ready():
    said, lines = notices(only_outcomes=True)
    said.looked(lease(), Missing(), GOES_ON)
    said.looked(lease(), SHOWN, ended(Outcome.TIMED_OUT, "still processing 5 s after acceptance"))
    assert lines == [f"{ID}: timed out: still processing 5 s after acceptance"]


@pytest.mark.parametrize(("others", "last"), [(0, None), (1, "1 more is not ready"), (5, "5 more are not ready")])
def test_it_names_the_first_assets_and_counts_the_others(others, last):
    said, lines = notices()
    for asset_id in IDS[: MOST + others]:
        said.looked(lease(asset_id), Missing(), GOES_ON)
    assert len(lines) == MOST + (others > 0)
    lines.clear()
    for asset_id in IDS[: MOST + others]:
        said.looked(lease(asset_id), SHOWN, ended(Outcome.FAILED))
    said.finish()
    assert [line.split(":")[0] for line in lines] == [*IDS[:MOST], *([last] if last else [])]


def test_what_people_read_on_standard_output_is_not_said_again():
    said, lines = notices(is_shown=lambda step: step.verdict.reason != "a long one")
    for number, asset_id in enumerate(IDS[: MOST + 2]):
        said.looked(lease(asset_id), SHOWN, ended(Outcome.FAILED, "a long one" if number == MOST + 1 else "short"))
    said.finish()
    assert lines == [f"{IDS[MOST + 1]}: failed: a long one"]
    assert said.not_ready == MOST + 2


def test_a_key_that_the_api_repeats_in_a_reason_is_not_shown():
    secrets = Secrets()
    secrets.add("tlk_4F2SECRET")
    observation = seen("failed", error={"message": "no video for tlk_4F2SECRET"})
    told, lines = notices()
    told.looked(lease(), observation, decided(lease_of(), observation, redact=secrets.redact))
    assert lines == [f"{ID}: failed: no video for {REDACTED}"]

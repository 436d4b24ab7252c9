"""The estimate of the server's clock, and what is made of instants in headers when clocks differ."""

from email.utils import formatdate
from random import Random

import pytest

from asset_worker.api.limits.rate_limit_headers import RateLimitReport, parse_rate_limits
from asset_worker.api.limits.server_clock import (
    ENOUGH,
    FAR_SECONDS,
    LATEST,
    NEAR_SECONDS,
    SKEW_SECONDS,
    ServerClock,
    parse_by_clocks,
)

NOW = 1_795_460_400.0
HOUR = 3600.0


def at(instant: float) -> str:
    return formatdate(instant, usegmt=True)


def read(clock: ServerClock, date: str | None, *, now: float, took: float = 0.1, own: float | None = None) -> float:
    """The likeliest time; our own clock is right unless said otherwise."""
    return clock.read(date, now=now, own=NOW + now if own is None else own, took=took)[0]


@pytest.mark.parametrize("ahead", [NOW, NOW - 0.4, NOW + 5000.9])
def test_the_servers_clock_is_known_the_better_the_more_answers_came(ahead: float) -> None:
    clock, random, errors = ServerClock(), Random(1), []
    assert clock.read(None, now=0.0, own=7.0, took=0.0) == (7.0,), "only our own clock is known"
    for number in range(200):
        now, way = number / 7, random.uniform(0.01, 0.1)
        errors.append(read(clock, at(ahead + now - way), now=now, took=2 * way) - ahead - now)
    assert min(errors) >= -1.1
    assert min(errors[50:]) >= -0.2
    assert max(errors) <= 0


@pytest.mark.parametrize("by", [-300, 300, -5 * HOUR, 5 * HOUR])
def test_a_server_whose_clock_is_set_is_believed_once_most_of_the_latest_dates_say_so(by: float) -> None:
    clock = ServerClock()
    for now in range(LATEST):
        read(clock, at(NOW + now), now=now)
    believed = [read(clock, at(NOW + now + by), now=now) == NOW + now + by for now in range(LATEST, 2 * LATEST)]
    assert believed.index(True) == LATEST // 2
    assert all(believed[LATEST // 2 :])


@pytest.mark.parametrize("by", [-5 * HOUR, 5 * HOUR, 365 * 24 * HOUR])
def test_one_wrong_edge_of_several_changes_nothing(by: float) -> None:
    clock, random = ServerClock(), Random(1)
    for now in range(500):
        edge = by if random.random() < 0.2 else 0.0
        found = read(clock, at(NOW + now + edge), now=now)
        if now > LATEST:
            assert found == pytest.approx(NOW + now, abs=1.1)


def test_a_clock_that_is_set_back_a_little_is_believed_at_once() -> None:
    clock = ServerClock()
    for now in range(20):
        read(clock, at(NOW + now), now=now)
    assert read(clock, at(NOW + 20 - 30), now=20) == NOW - 10


def test_what_was_known_long_ago_counts_less_because_clocks_drift_apart() -> None:
    """By a second in some three hours, so that the dates of a server whose clock is slower are believed."""
    clock = ServerClock()
    read(clock, at(NOW), now=0.0)
    assert read(clock, None, now=5_000.0) == pytest.approx(NOW + 5_000 - 0.5, abs=0.01)
    assert read(clock, None, now=10_000.0) == pytest.approx(NOW + 10_000 - 1.0, abs=0.01)
    assert read(clock, at(NOW + 10_000), now=10_000.5) == NOW + 10_000


def test_an_answer_that_took_long_does_not_set_the_servers_clock_back() -> None:
    clock = ServerClock()
    read(clock, at(NOW), now=0.0)
    assert read(clock, at(NOW), now=8.0, took=8.1) == pytest.approx(NOW + 8, abs=0.01)
    assert read(clock, "yesterday", now=9.0) == pytest.approx(NOW + 9, abs=0.01)


def test_other_clocks_are_named_if_they_differ_much() -> None:
    clock = ServerClock()
    for now in range(10):
        read(clock, at(NOW + now), now=now)
    assert clock.read(at(NOW + 10), now=10.0, own=NOW + 11, took=0.1) == (NOW + 10,)
    assert clock.read(at(NOW - HOUR), now=10.0, own=NOW + 11, took=0.1) == (NOW + 10, NOW - HOUR)
    assert clock.read(None, now=10.0, own=NOW + HOUR, took=0.1) == (NOW + 10, NOW + HOUR)


def answered(*, edge: float = 0.0, own: float = 0.0, usual: float = 0.0, **headers: str) -> RateLimitReport:
    """What an answer reports whose `Date` is wrong by `edge` seconds; our own clock by `own`, most dates by `usual`."""
    clock = ServerClock()
    for now in range(LATEST):
        clock.read(at(NOW - LATEST + now + usual), now=now - LATEST, own=NOW - LATEST + now + own, took=0.1)
    date = at(NOW + edge)
    return parse_by_clocks({"Date": date, **headers}, clock.read(date, now=0.0, own=NOW + own, took=0.1))


def spent(reset: float) -> dict[str, str]:
    return {"X-Ratelimit-Limit": "60", "X-Ratelimit-Remaining": "0", "X-Ratelimit-Reset": f"{reset:.0f}"}


WRONG = [-365 * 24 * HOUR, -5 * HOUR, -HOUR, HOUR, 5 * HOUR, 365 * 24 * HOUR]


@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize("whose", ["edge", "own", "usual", "edge and usual"])
def test_a_reset_is_read_by_the_clock_that_is_right(whose: str, wrong: float) -> None:
    """The application reports the reset; the `Date` may be another machine's."""
    off = dict.fromkeys(whose.split(" and "), wrong)
    [quota] = answered(**off, **spent(NOW + 42)).quotas
    assert quota.reset_in == pytest.approx(42, abs=1.1)
    assert answered(**off, **spent(NOW + 42)).requested_wait == pytest.approx(42, abs=1.1)


@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize("whose", ["edge", "own", "edge and usual"])
def test_a_date_to_wait_for_is_read_by_the_clock_of_the_machine_that_wrote_it(whose: str, wrong: float) -> None:
    off = dict.fromkeys(whose.split(" and "), wrong)
    assert answered(**off, **{"Retry-After": at(NOW + off.get("edge", 0.0) + 42)}).retry_after == pytest.approx(
        42, abs=1.1
    )


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param({"Retry-After": "20"}, id="a delay"),
        pytest.param({"RateLimit": '"a";r=3;t=60', "RateLimit-Policy": '"a";q=100;w=60'}, id="a delay to the reset"),
        pytest.param({}, id="nothing"),
        pytest.param(spent(NOW - HOUR), id="a reset long ago by each clock"),
    ],
)
def test_where_no_instant_depends_on_a_clock_no_clock_matters(headers: dict[str, str]) -> None:
    assert answered(edge=-5 * HOUR, own=5 * HOUR, **headers) == parse_rate_limits(headers, server_now=NOW)


def test_a_delay_beside_an_instant_does_not_hide_how_far_that_is() -> None:
    report = answered(usual=-5 * HOUR, **{"Retry-After": "20", **spent(NOW + 42)})
    assert report.retry_after == 20.0
    assert report.quotas[0].reset_in == pytest.approx(42, abs=1.1)


def test_a_wrong_clock_of_ours_is_reported_once_until_the_two_agree() -> None:
    clock, reported = ServerClock(), []
    skews = [-2 * SKEW_SECONDS] * 20 + [0.0] * 5 + [0.7 * SKEW_SECONDS] * 5 + [5 * HOUR] * 5 + [0.7 * SKEW_SECONDS] * 5
    for now, skew in enumerate(skews):
        own = NOW + now + skew
        clock.read(at(NOW + now), now=now, own=own, took=0.1)
        if (news := clock.newly_skewed(now=now, own=own)) is not None:
            reported.append((now, round(news)))
    assert reported == [(ENOUGH - 1, -600), (30, 18_000)]


def test_a_wrong_edge_is_not_taken_for_a_wrong_clock_of_ours() -> None:
    clock = ServerClock()
    for now in range(100):
        clock.read(at(NOW + now + (5 * HOUR if now % 3 == 0 else 0)), now=now, own=NOW + now, took=0.1)
        assert clock.newly_skewed(now=now, own=NOW + now) is None


@pytest.mark.parametrize(
    ("dates", "took", "believed"),
    [
        pytest.param([0, -2], 1.0, 0, id="rounding and the time on the way explain a date that is older"),
        pytest.param([0, -2], 0.9, -2, id="they do not explain it, so the clock was set back"),
        pytest.param([0, -FAR_SECONDS], 0.1, -FAR_SECONDS, id="set back by as much as clocks may differ"),
        pytest.param([HOUR, FAR_SECONDS, 0], 0.1, 0, id="set back by so much after another clock was believed"),
        pytest.param(
            [-HOUR, -HOUR, -HOUR, FAR_SECONDS, 0, 0, 0], 0.1, FAR_SECONDS, id="the latest of those that belong together"
        ),
    ],
)
def test_dates_at_the_bounds_of_what_belongs_to_one_clock(dates: list[float], took: float, believed: float) -> None:
    """All dates arrive at one instant, as seconds after `NOW`."""
    clock = ServerClock()
    found = [read(clock, at(NOW + date), now=0.0, took=took) for date in dates]
    assert found[-1] == NOW + believed


def test_our_own_clock_is_another_one_only_if_it_differs_by_more_than_usual() -> None:
    clock = ServerClock()
    for own, others in ((FAR_SECONDS, 0), (-FAR_SECONDS, 0), (FAR_SECONDS + 1, 1), (-FAR_SECONDS - 1, 1)):
        assert len(clock.read(at(NOW), now=0.0, own=NOW + own, took=0.1)) == 1 + others


def test_our_clock_is_wrong_beyond_the_bound_and_right_again_within_half_of_it() -> None:
    clock = ServerClock()
    for _ in range(ENOUGH):
        read(clock, at(NOW), now=0.0)
    skews = (SKEW_SECONDS, SKEW_SECONDS + 1, SKEW_SECONDS / 2 + 1, SKEW_SECONDS + 2, SKEW_SECONDS / 2, SKEW_SECONDS + 3)
    news = [clock.newly_skewed(now=0.0, own=NOW + skew) for skew in skews]
    assert news == [None, SKEW_SECONDS + 1, None, None, None, SKEW_SECONDS + 3]


def test_a_reset_is_near_up_to_a_quarter_of_an_hour() -> None:
    for ahead, quotas in ((NEAR_SECONDS, 1), (NEAR_SECONDS + 1, 0)):
        report = parse_by_clocks(spent(NOW + ahead), [NOW, NOW + 5 * HOUR])
        assert len(report.quotas) == quotas, "else all have passed, by the other clock"


def test_the_next_of_several_resets_shows_which_clock_is_right() -> None:
    headers = {**spent(0), "X-Ratelimit-Reset": f"{NOW + 42:.0f}, {NOW + 5 * HOUR:.0f}"}
    headers |= {name: f"{value}, {value}" for name, value in headers.items() if not name.endswith("Reset")}
    for clocks in ([NOW], [NOW, NOW + 6 * HOUR], [NOW + 6 * HOUR, NOW]):
        assert [quota.reset_in for quota in parse_by_clocks(headers, clocks).quotas] == [42.0, 5 * HOUR]

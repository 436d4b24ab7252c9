from __future__ import annotations

from random import Random

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asset_worker.schedule.adaptive import FLOOR, AdaptiveSchedule
from asset_worker.schedule.classes import AssetClass, classify
from asset_worker.schedule.knowledge import MAX_CLASSES
from asset_worker.schedule.learned import LearnedState, UnreadableState, from_bytes, to_bytes
from asset_worker.schedule.ports import WaitState
from asset_worker.schedule.report import plot, rows, table
from tests.doubles.optimal_schedule import (
    Durations,
    best_ages,
    exponential,
    log_normal,
    measure,
    measure_ages,
    mixture,
    teach,
    uniform,
    watch,
    weibull,
)


def schedule(
    *, looks: float | None = None, maximum: float = 30, learned: LearnedState | None = None, seed: int | None = 1
):
    return AdaptiveSchedule(
        learned,
        initial=2,
        multiplier=1.5,
        maximum=maximum,
        looks=looks,
        uniform=(lambda: 0.5) if seed is None else Random(seed).random,
    )


def ages(learner: AdaptiveSchedule, count: int, *, file_type: str = "video/mp4", method: str = "direct") -> list[float]:
    found = [0.0]
    while len(found) < count:
        look = WaitState(attempt_number=len(found) + 1, age=found[-1], file_type=file_type, method=method)
        found.append(found[-1] + learner(look))
    return found


def test_before_anything_is_learned_it_looks_as_exponential_does() -> None:
    assert ages(schedule(seed=None), 9) == pytest.approx([0, 2, 5, 9.5, 16.25, 26.4, 41.6, 64.3, 94.3], rel=0.2)


@pytest.mark.parametrize("maximum", [30, 300])
@pytest.mark.parametrize(
    "durations",
    [
        log_normal(10, 0.15),
        log_normal(3, 0.3),
        log_normal(60, 1.0),
        mixture((0.5, log_normal(4, 0.3)), (0.5, log_normal(200, 0.4))),
        uniform(20, 40),
        weibull(30, 2),
        weibull(30, 0.7),
        exponential(45),
    ],
    ids=lambda known: known.name,
)
def test_after_300_completions_it_costs_at_most_a_quarter_more_than_the_exact_optimum(
    durations: Durations, maximum: float
) -> None:
    learner = teach(schedule(maximum=maximum), durations, 300)
    best = measure_ages(best_ages(durations, learner.price, floor=FLOOR, ceiling=maximum), durations)
    assert measure(learner, durations).cost(learner.price) <= 1.25 * best.cost(learner.price)


@pytest.mark.parametrize("looks", [4, 8, 12])
def test_an_asset_costs_the_configured_number_of_looks(looks: int) -> None:
    durations = log_normal(30, 0.6)
    learner = teach(schedule(looks=looks), durations, 400)
    assert measure(learner, durations).mean_looks == pytest.approx(looks, rel=0.2)


def test_by_default_it_costs_at_most_the_looks_of_exponential_and_detects_sooner() -> None:
    durations = log_normal(30, 0.4)
    learner = teach(schedule(), durations, 300)
    plain = measure_ages([0, 2, 5, 9.5, 16.25, 26.4, 41.6, 64.3, *(94.3 + 30 * i for i in range(20))], durations)
    learned = measure(learner, durations)
    assert learned.mean_looks <= plain.mean_looks * 1.05
    assert learned.mean_lag <= plain.mean_lag / 3


def test_classes_that_the_first_answer_distinguishes_have_looks_of_their_own() -> None:
    learner, random = schedule(), Random(1)
    image, video = log_normal(3, 0.2), log_normal(200, 0.2)
    for _ in range(150):
        watch(learner, image.sample(random), learner=learner, file_type="image/jpeg")
        watch(learner, video.sample(random), learner=learner, file_type="video/mp4")
    images, videos = ages(learner, 6, file_type="image/jpeg"), ages(learner, 60, file_type="video/mp4")
    assert sum(2 < age < 5 for age in images) >= 2
    assert sum(2 < age < 5 for age in videos) == 0
    assert ages(learner, 9, file_type="video/webm")[1] > images[1]


@pytest.mark.parametrize("more", [20, 100])
def test_more_ends_around_an_age_bring_more_looks_there_at_the_same_price(more: int) -> None:
    learner = teach(schedule(seed=None), log_normal(60, 0.8), 200)
    price = learner.price
    before = sum(25 <= age <= 35 for age in ages(learner, 20))
    for _ in range(more):
        watch(learner, 30.0, learner=learner)
    learner.price = price
    assert sum(25 <= age <= 35 for age in ages(learner, 20)) >= before


def test_an_outlier_is_looked_at_forever() -> None:
    learner = teach(schedule(), log_normal(3, 0.1), 500)
    assert learner(WaitState(attempt_number=99, age=100_000, file_type="video/mp4", method="direct")) <= 30


def test_it_follows_a_drift() -> None:
    learner = teach(teach(schedule(), log_normal(5, 0.2), 600), log_normal(100, 0.2), 800)
    best = measure_ages(best_ages(log_normal(100, 0.2), learner.price, ceiling=30), log_normal(100, 0.2))
    assert measure(learner, log_normal(100, 0.2)).cost(learner.price) <= 1.25 * best.cost(learner.price)


def test_a_burst_is_not_thought_as_fast_as_the_assets_of_it_that_end_first() -> None:
    learner = schedule()
    durations = log_normal(300, 1.0).quantiles[::10]
    for at in range(10, 70, 10):
        for duration in durations:
            if duration > at - 10:
                done = duration <= at
                look = WaitState(attempt_number=at // 10, age=at, waiting_on=() if done else ("asset",))
                learner.observe(look, since=at - 10, ended=("asset",) if done else ())
    (name,) = classify(("asset",), None, None)
    survival = next(row for row in rows(learner) if row.name == str(name)).density
    assert 1 - sum(survival[:49]) > 0.8, "five of six are still waiting at 70 s"


@settings(max_examples=40, deadline=None)
@given(
    st.floats(0.2, 20),
    st.floats(1, 3),
    st.floats(20, 600),
    st.none() | st.floats(2, 50),
    st.lists(st.floats(0.1, 5000), max_size=40),
    st.floats(0, 20_000),
    st.floats(0, 1, exclude_max=True),
)
def test_delays_lie_between_the_floor_and_poll_max(
    initial: float,
    multiplier: float,
    maximum: float,
    looks: float | None,
    seen: list[float],
    age: float,
    chance: float,
) -> None:
    learner = AdaptiveSchedule(
        initial=initial, multiplier=multiplier, maximum=maximum, looks=looks, uniform=lambda: chance
    )
    for duration in seen:
        watch(learner, duration, learner=learner)
    delay = learner(WaitState(attempt_number=3, age=age, file_type="video/mp4", method="direct"))
    assert min(FLOOR, initial) * 0.999 <= delay <= maximum * 1.001


def test_the_shortest_delay_is_half_a_second() -> None:
    learner = AdaptiveSchedule(initial=2, multiplier=1.5, maximum=30, uniform=lambda: 0.0)
    for _ in range(50):
        watch(learner, 20.0, learner=learner)
    learner.price = 1e-6
    looks = (WaitState(attempt_number=2, age=15 + i / 20, file_type="video/mp4", method="direct") for i in range(200))
    assert min(map(learner, looks)) == pytest.approx(0.5)


def test_waits_that_are_not_about_the_asset_are_spaced_exponentially() -> None:
    learner = teach(schedule(seed=None), log_normal(300, 0.1), 100)
    delays = [learner(WaitState(attempt_number=n, age=n, waiting_on=("visibility",))) for n in (1, 2, 3, 20)]
    assert delays == pytest.approx([2, 3, 4.5, 30], rel=0.05)


def test_jitter_never_raises_an_exponential_delay_above_poll_max() -> None:
    learner = AdaptiveSchedule(initial=2, multiplier=1.5, maximum=30, uniform=lambda: 0.9999)
    assert learner(WaitState(attempt_number=99, waiting_on=("answer",))) <= 30


def test_renditions_are_learned_separately_and_looked_for_when_the_last_is_expected() -> None:
    learner = schedule(seed=None, maximum=100)
    for _ in range(200):
        for age, since, waiting, ended in (
            (2.0, 0.0, ("hls",), ("thumbnail",)),
            (38.0, 2.0, ("hls",), ()),
            (42.0, 38.0, (), ("hls",)),
        ):
            look = WaitState(attempt_number=1, phase="renditions", age=age, waiting_on=waiting, file_type="video/mp4")
            learner.observe(look, since=since, ended=ended)
    both = WaitState(attempt_number=1, phase="renditions", waiting_on=("hls", "thumbnail"), file_type="video/mp4")
    thumbnail = WaitState(attempt_number=1, phase="renditions", waiting_on=("thumbnail",), file_type="video/mp4")
    assert learner(thumbnail) < 4
    assert 35 < learner(both) < 50


def test_with_a_backlog_looks_go_where_ends_are_likely() -> None:
    learner = teach(schedule(seed=None, maximum=300), log_normal(100, 0.3), 300)
    young, ripe = (WaitState(attempt_number=2, age=age, file_type="video/mp4", method="direct") for age in (5.0, 100.0))
    without_backlog = learner(ripe)
    learner.backlog_factor = 3.0
    assert learner(ripe) == pytest.approx(3 * without_backlog, rel=0.35)
    assert learner(young) > 3 * learner(ripe)


def test_unknown_file_types_do_not_grow_memory() -> None:
    learner = schedule()
    for i in range(1000):
        watch(learner, 5.0, learner=learner, file_type=f"video/x-{i}", method=f"method {i}")
        watch(learner, 5.0, learner=learner, file_type=f"nonsense-{i}")
    assert len(learner.evidence()) <= MAX_CLASSES + 20


def test_the_learned_state_survives_a_restart() -> None:
    learner = teach(schedule(seed=None), log_normal(60, 0.3), 200)
    stored = from_bytes(to_bytes(learner.learned()))
    assert isinstance(stored, LearnedState)
    restarted = schedule(seed=None, learned=stored)
    assert restarted.price == learner.price
    assert ages(restarted, 10) == pytest.approx(ages(learner, 10), rel=0.1)


def test_a_hundred_classes_fit_in_64_kib() -> None:
    learner, random = schedule(), Random(1)
    durations = log_normal(60, 1.5)
    for i in range(100):
        for _ in range(40):
            since = durations.sample(random)
            look = WaitState(attempt_number=2, age=since * 1.3, waiting_on=(), file_type=f"video/x-{i}", method="url")
            learner.observe(look, since=since, ended=("asset",))
    assert len(to_bytes(learner.learned())) < 65536


def test_what_version_1_learned_is_not_used() -> None:
    name = ["asset", "video/mp4", "direct"]
    data = msgspec.msgpack.encode([1, 1.5, [[name, [64, *[0] * 100], [16, *[0] * 100]]], [[[name], 3.0]]])
    assert from_bytes(data) == UnreadableState("it is of version 1; this asset-worker reads version 2")


def test_the_stored_layout_is_that_of_version_2() -> None:
    """Later versions of the program read what earlier ones have stored."""
    name = ["asset", "video/mp4", "direct"]
    ends, exposure = [64, *[0] * 100], [16, *[0] * 100]
    earlier = [2, 1.5, [[name, ends, exposure]], [[[name], 3.0]], 0.25]
    data = msgspec.msgpack.encode([*earlier, [[name, ["hls"], [[["hls"], 2.5]]]]])
    learned = from_bytes(data)
    assert isinstance(learned, LearnedState)
    assert to_bytes(learned) == data
    assert from_bytes(msgspec.msgpack.encode(earlier)) == msgspec.structs.replace(learned, after_asset=[])
    [(asset_class, table)] = learned.tables().items()
    assert asset_class == AssetClass("asset", "video/mp4", "direct")
    assert (table.ends[0], table.exposure[0]) == (1, 1)
    assert learned.starts == [([asset_class], 3.0)]
    assert learned.requests_per_look == 0.25


@given(st.binary(max_size=300))
def test_garbage_is_reported_and_not_raised(data: bytes) -> None:
    assert isinstance(from_bytes(data), LearnedState | UnreadableState)


@settings(max_examples=200)
@given(st.integers(0, 10_000), st.integers(0, 255))
def test_a_damaged_byte_never_breaks_the_schedule(where: int, byte: int) -> None:
    data = bytearray(STORED)
    data[where % len(data)] = byte
    learned = from_bytes(bytes(data))
    if isinstance(learned, LearnedState):
        assert 0 < ages(schedule(learned=learned), 3)[-1] <= 60


@pytest.mark.parametrize(
    ("learned", "why"),
    [
        pytest.param(LearnedState(version=99), "version 99", id="version"),
        pytest.param(LearnedState(price=float("nan")), "price", id="price"),
        pytest.param(LearnedState(requests_per_look=0.0), "0.0 requests a look", id="free-looks"),
        pytest.param(LearnedState(requests_per_look=float("nan")), "nan requests a look", id="no-cost"),
        pytest.param(LearnedState(starts=[([], 1.0)]), "starts", id="start-of-nothing"),
        pytest.param(LearnedState(starts=[([AssetClass("asset", "video/mp4", "url")], -1.0)]), "starts", id="starts"),
    ],
)
def test_a_state_that_cannot_be_used_says_why(learned: LearnedState, why: str) -> None:
    found = from_bytes(to_bytes(learned))
    assert isinstance(found, UnreadableState)
    assert why in found.why


def test_the_report_shows_each_class_and_its_looks() -> None:
    learner = teach(schedule(), log_normal(30, 0.4), 200)
    (row,) = rows(learner)
    assert row.name == "asset video/mp4 direct"
    assert row.p10 < row.p50 < row.p90 < row.p99
    assert row.p50 == pytest.approx(30, rel=0.2)
    for value, (low, high) in ((row.p50, row.p50_interval), (row.p90, row.p90_interval)):
        assert high is not None
        assert low < value < high < 1.5 * low
    assert row.requests == row.looks
    assert len(row.first_looks) == 12
    assert "video/mp4 direct" in table([row])
    title, bars, marks, scale = plot(row, width=40).splitlines()
    assert "█" in bars
    assert "▲" in marks
    assert len(bars) <= 40
    assert all(line.isprintable() for line in (title, bars, marks, scale))


def test_a_percentile_of_few_ends_has_no_upper_bound() -> None:
    (row,) = rows(teach(schedule(), log_normal(30, 0.4), 4))
    assert row.p99_interval[1] is None
    assert f"({row.p99_interval[0]:.1f}s or more)" in table([row])


def test_an_interval_holds_the_true_value() -> None:
    """In 95 of 100 cases, were there no smoothing and no general knowledge; both pull a little."""
    durations, held = log_normal(30, 0.4), 0
    for seed in range(40):
        (row,) = rows(teach(schedule(), durations, 60, seed=seed))
        low, high = row.p50_interval
        held += high is not None and low <= 30 <= high
    assert held >= 34


def test_a_report_counts_requests_at_what_a_look_cost_lately() -> None:
    learner = teach(schedule(), log_normal(30, 0.4), 200)
    for _ in range(1000):
        learner.requested(10)
    learned = from_bytes(to_bytes(learner.learned()))
    assert isinstance(learned, LearnedState)
    again = AdaptiveSchedule(
        learned,
        initial=2,
        multiplier=1.5,
        maximum=30,
        requests_per_look=learned.requests_per_look,
        uniform=lambda: 0.5,
    )
    (row,) = rows(again)
    assert row.requests == pytest.approx(row.looks / 10, rel=0.01)
    assert schedule(learned=learned).requests_per_look == 1, "a worker that starts may have fewer assets to look at"


def test_a_report_holds_nothing_that_a_terminal_obeys() -> None:
    learner = teach(schedule(), log_normal(30, 0.4), 200)
    (row,) = rows(learner)
    evil = msgspec.structs.replace(row, name="\x1b]52;c;eA==\x07\n\x9b")
    shown = r"\x1b]52;c;eA==\x07\n\x9b"
    assert table([evil]).split("\n")[1].startswith(f"{shown} ")
    assert plot(evil).startswith(f"{shown}: ")


def test_a_report_on_nothing_says_so() -> None:
    assert "Nothing learned yet" in table(rows(schedule()))


STORED = to_bytes(teach(schedule(), log_normal(30, 0.4), 100).learned())


def test_a_look_costs_all_requests_over_all_looks() -> None:
    learner = schedule()
    assert learner.requests_per_look == 1
    for _ in range(1000):
        learner.requested(1)
        learner.requested(49)
    assert learner.requests_per_look == pytest.approx(2 / 50, rel=0.02)


def test_the_chance_of_an_end_is_that_of_the_class() -> None:
    learner = teach(schedule(), uniform(20, 40), 400)
    old = WaitState(attempt_number=9, age=30.0, file_type="video/mp4", method="direct")
    assert learner.chance_of_end(old, within=30.0) == pytest.approx(0.5, abs=0.08)
    assert learner.chance_of_end(old, within=5.0) == pytest.approx(1 - 0.5 / 0.75, abs=0.08)
    assert learner.chance_of_end(msgspec.structs.replace(old, age=15.0), within=99.0) < 0.05
    assert learner.chance_of_end(msgspec.structs.replace(old, waiting_on=("answer",)), within=30.0) == 0
    assert learner.chance_of_end(old, within=0.0) == 0


def test_the_chance_that_several_have_ended_is_that_of_the_last() -> None:
    learner = schedule()
    slow = WaitState(attempt_number=9, phase="renditions", age=30.0, waiting_on=("hls",), file_type="video/mp4")
    fast = msgspec.structs.replace(slow, waiting_on=("thumbnail",))
    for _ in range(200):
        learner.observe(msgspec.structs.replace(fast, age=5.0, waiting_on=()), since=4.0, ended=("thumbnail",))
        learner.observe(msgspec.structs.replace(slow, age=80.0), since=0.0)
        learner.observe(msgspec.structs.replace(slow, age=90.0, waiting_on=()), since=80.0, ended=("hls",))
    both = msgspec.structs.replace(slow, waiting_on=("thumbnail", "hls"))
    assert learner.chance_of_end(fast, within=30.0) > 0.9
    assert learner.chance_of_end(slow, within=30.0) < 0.1
    assert learner.chance_of_end(both, within=30.0) < 0.1


@pytest.mark.parametrize(("head_start", "teaches"), [(-5.1, False), (-4.9, True), (4.9, True), (5.1, False)])
def test_clocks_may_differ_by_five_seconds_however_short_the_usual_duration_is(head_start: float, teaches: bool):
    learner = schedule()
    ended = WaitState(attempt_number=2, age=0.6, waiting_on=(), file_type="image/png", method="direct")
    for _ in range(100):
        learner.observe(ended, since=0.3, ended=("asset",))
    before = sum(learner.evidence().values())
    learner.observe(msgspec.structs.replace(ended, head_start=head_start), since=0.3, ended=("asset",))
    assert (sum(learner.evidence().values()) > before) is teaches


def test_late_looks_stretch_all_delays_and_timely_looks_shorten_them_again():
    schedule = AdaptiveSchedule(initial=2, multiplier=1.5, maximum=30, uniform=lambda: 0.5)
    look = WaitState(attempt_number=5, age=20.0, file_type="video/mp4", method="direct")
    usual = schedule(look)
    for _ in range(400):
        schedule.looked_late(60.0, since=1.0)
        stretched = schedule(look)
    assert stretched > 3 * usual
    for _ in range(2000):
        schedule.looked_late(0.0, since=1.0)
        schedule(look)
    assert schedule.backlog_factor == 1
    assert schedule(look) == pytest.approx(usual, rel=0.05)


def test_a_little_lateness_changes_nothing():
    schedule = AdaptiveSchedule(initial=2, multiplier=1.5, maximum=30, uniform=lambda: 0.5)
    for _ in range(100):
        schedule.looked_late(0.01, since=1.0)
    assert schedule.backlog_factor == 1


def test_idle_time_shortens_stretched_delays_although_no_look_is_made():
    """Looks are rare while delays are stretched too much, so alone they would shorten nothing for hours."""
    schedule = AdaptiveSchedule(initial=2, multiplier=1.5, maximum=30, uniform=lambda: 0.5)
    fresh = WaitState(attempt_number=1, file_type="video/mp4", method="direct")
    usual = schedule(fresh)
    schedule.backlog_factor = 1000.0
    assert schedule(fresh) > 100 * usual
    schedule.idled(300.0)
    assert schedule(fresh) == pytest.approx(usual)


@pytest.mark.parametrize("waiting_on", ["asset", "answer"])
@pytest.mark.parametrize(("maximum", "longest"), [(30, 3600), (7200, 7200)])
def test_no_backlog_makes_a_delay_longer_than_an_hour_or_poll_max(
    waiting_on: str, maximum: float, longest: float
) -> None:
    schedule = AdaptiveSchedule(initial=2, multiplier=1.5, maximum=maximum, uniform=lambda: 0.9999)
    schedule.backlog_factor = 1000.0
    delay = schedule(WaitState(attempt_number=99, age=20_000, waiting_on=(waiting_on,), file_type="video/mp4"))
    assert maximum / 2 < delay <= longest * 1.05


@pytest.mark.parametrize("multiplier", [1e4, 1e300])
def test_a_growth_beyond_the_range_of_floats_ends_at_the_ceiling(multiplier: float) -> None:
    schedule = AdaptiveSchedule(initial=2, multiplier=multiplier, maximum=30, uniform=lambda: 0.5)
    for attempt in (2, 79, 100_000):
        assert schedule(WaitState(attempt_number=attempt, age=10.0, waiting_on=("answer",))) == pytest.approx(
            30, rel=0.06
        )


def test_the_first_look_of_a_wait_counts_as_its_start_and_no_later_one_does() -> None:
    """An asset that is done at its second look has started, too."""
    learner = schedule()
    counts = []
    for attempt_number in (1, 2, 3, 1):
        learner(WaitState(attempt_number=attempt_number, age=5.0, file_type="video/mp4", method="direct"))
        [(classes, count)] = learner.learned().starts
        counts.append(count)
    assert classes == [AssetClass("asset", "video/mp4", "direct")]
    assert counts == [1, 1, 1, 2]


def test_waits_for_visibility_do_not_count_as_starts_and_waits_for_processing_do() -> None:
    """So `poll.looks` holds when uploads race ahead of reads and each first look is answered by a 404."""
    learner, random = schedule(looks=40), Random(1)
    durations, looks = log_normal(200, 0.5), []
    for _ in range(400):
        duration, since, made = durations.sample(random), 0.0, 1
        age = learner(WaitState(attempt_number=1, waiting_on=("visibility",)))
        while age < duration:
            look = WaitState(attempt_number=made, age=age, file_type="video/mp4", method="direct")
            learner.observe(look, since=since)
            since, age, made = age, age + learner(look), made + 1
        learner.observe(
            WaitState(attempt_number=made, age=age, waiting_on=(), file_type="video/mp4", method="direct"),
            since=since,
            ended=("asset",),
        )
        looks.append(1 + made)
    assert sum(looks[200:]) / 200 == pytest.approx(40, rel=0.2)

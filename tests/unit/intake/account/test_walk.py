"""Where assets belong in time, and how a walk goes on."""

from __future__ import annotations

import math
from datetime import UTC, datetime

import pytest

from asset_worker.domain.assets import asset_from
from asset_worker.domain.listings import Page
from asset_worker.intake.account.walk import Step, Walk, flaw_in, lacks_assets, placed, read_on, united

NOW = 1_800_000_000.0


def page(*times: object, total: int | None = None, unreadable: int = 0) -> Page:
    """A page of assets created so many seconds ago; a text or None: what stands in `created_at`."""

    def shown(time: object) -> object:
        return datetime.fromtimestamp(NOW - time, UTC).isoformat() if isinstance(time, int) else time

    documents = [
        {"_id": f"a{time if isinstance(time, int) else place}", "status": "ready", "created_at": shown(time)}
        for place, time in enumerate(times)
    ]
    return Page(tuple(map(asset_from, documents)), unreadable, total, None)


def ages(*times: object, above: float = 0) -> list[float]:
    return [NOW - each.at for each in placed(page(*times), above=NOW - above)]


@pytest.mark.parametrize(
    ("times", "expected"),
    [
        pytest.param((1, 2, 3), [1, 2, 3], id="in order"),
        pytest.param((5, 5, 5), [5, 5, 5], id="equal"),
        pytest.param((1, None, 3), [1, 1, 3], id="unreadable: the newer neighbour's"),
        pytest.param((1, "yesterday", 3), [1, 1, 3], id="no time"),
        pytest.param((None, 2, 3), [0, 2, 3], id="the newest is unreadable: now"),
        pytest.param((None, None), [0, 0], id="all unreadable"),
        pytest.param((1, 4, None, 6), [1, 4, 4, 6], id="unreadable: that of the next newer one"),
        pytest.param((1, 2, "1970-01-01T00:00:00Z", 4), [1, 2, 4, 4], id="1970 in the midst"),
        pytest.param((1, 2, -(10**9), 4), [1, 1, 2, 4], id="the future in the midst"),
        pytest.param((-(10**9), 2, 3), [-(10**9), 2, 3], id="the future at the top"),
        pytest.param((), [], id="an empty page"),
        pytest.param((7,), [7], id="one asset"),
    ],
)
def test_an_asset_belongs_where_its_time_or_its_neighbours_say(times: tuple[object, ...], expected: list[float]):
    assert ages(*times) == expected


def test_on_a_later_page_the_page_before_is_the_neighbour():
    assert ages(None, 9, above=5) == [5, 9]
    assert ages("1970-01-01T00:00:00Z", 9, 10, above=5) == [9, 10, 10]


def test_the_first_asset_of_a_later_page_may_be_newer_than_the_page_before_was():
    """That was answered by a replica that lags."""
    assert ages(3, 9, 10, above=5) == [3, 9, 10]
    assert ages(9, 3, 12, above=10) == [9, 9, 12], "but not for the sake of the second one"


def full(first: int, total: int | None) -> Page:
    return page(*range(first, first + 50), total=total)


def after(walk: Walk, found: Page) -> Step:
    return read_on(walk, found, newest=NOW)


def test_a_walk_goes_from_page_to_page_and_knows_how_far_it_has_come():
    step = after(Walk(), full(1, 120))
    # By the last asset but one: a single false time in the last place must not end a walk.
    assert (step.walk.page, step.walk.total, step.walk.low) == (2, 120, NOW - 49)
    assert not step.is_end
    assert not step.has_shifted
    step = after(step.walk, full(51, 120))
    assert (step.walk.page, step.walk.total, step.walk.low) == (3, 120, NOW - 99)
    assert after(step.walk, page(*range(101, 121), total=120)).is_end


@pytest.mark.parametrize(
    ("shown", "is_end"),
    [
        pytest.param(page(1, 2, total=52), True, id="short, as the total says"),
        pytest.param(page(1, 2, total=100), True, id="shorter than the total says, which is that of a full page"),
        pytest.param(page(1, 2, total=101), False, id="another page must follow"),
        pytest.param(page(1, 2, total=80), True, id="shorter than the total says, but no page follows"),
        pytest.param(page(1, 2, total=None), False, id="no total: the next page is empty"),
        pytest.param(page(1, 2, total=400), False, id="a short page in the midst"),
        pytest.param(page(total=50), True, id="empty"),
        pytest.param(page(total=None), True, id="empty, and no total"),
        pytest.param(full(1, 100), False, id="full: the total may be capped"),
        pytest.param(page(1, total=3), False, id="a total that the page refutes"),
    ],
)
def test_which_page_is_the_last(shown: Page, is_end: bool):
    assert after(Walk(page=2), shown).is_end is is_end


@pytest.mark.parametrize(
    ("before", "now", "page_number"),
    [
        pytest.param(500, 499, 6, id="one deleted: the page before again"),
        pytest.param(500, 450, 6, id="fifty"),
        pytest.param(500, 449, 5, id="fifty-one"),
        pytest.param(500, 10, 1, id="nearly all"),
    ],
)
def test_a_list_that_gets_shorter_sends_the_reader_back_by_as_many_pages(before: int, now: int, page_number: int):
    step = after(Walk(7, before, NOW - 10), full(300, now))
    assert step.has_shifted
    assert step.walk == Walk(page_number, now, NOW - 10)
    assert len(step.listed) == 50


def test_a_page_that_repeats_assets_though_the_list_has_not_grown_is_read_again_with_the_one_above():
    above = after(Walk(7, 500, NOW), full(300, 500)).walk
    assert not after(above, full(350, 500)).has_shifted
    assert not after(above, full(349, 501)).has_shifted, "an upload moved it down"
    for again in range(1, 6):
        step = after(above, full(349, 500))
        assert (step.has_shifted, step.walk.page, step.walk.again) == (True, 7, again)
        above = after(step.walk, full(300, 500)).walk
    last = after(above, full(349, 500))
    assert (last.has_shifted, last.walk.page, last.walk.again) == (False, 9, 0)


def test_on_the_second_page_too_a_list_that_got_shorter_sends_the_reader_back():
    step = after(Walk(2, 500, NOW - 10), full(300, 499))
    assert (step.has_shifted, step.walk) == (True, Walk(1, 499, NOW - 10))


def test_without_totals_a_page_that_repeats_assets_is_taken_for_one_that_moved_down():
    above = after(Walk(7, None, NOW), full(300, None)).walk
    assert not after(above, full(349, None)).has_shifted


def test_a_list_that_grows_sends_nobody_back():
    assert not after(Walk(7, 500, NOW), full(300, 501)).has_shifted


def test_a_page_without_a_total_does_not_hide_that_the_list_gets_shorter():
    step = after(Walk(7, 500, NOW), full(300, None))
    assert after(step.walk, full(350, 499)).has_shifted


def test_elements_that_are_no_assets_do_not_go_on_below_the_end_of_the_list():
    assert after(Walk(4, 120), page(total=120, unreadable=4)).is_end
    assert not after(Walk(3, 120), page(total=120, unreadable=50)).is_end
    assert not after(Walk(4, None), page(total=None, unreadable=4)).is_end


def test_unreadable_elements_have_places_but_no_times():
    step = after(Walk(), page(total=3, unreadable=3))
    assert step.is_end
    assert step.walk.low == math.inf


def test_an_empty_page_is_a_hole_where_the_list_must_have_assets():
    assert flaw_in(page(total=500), 3, None) is not None
    assert flaw_in(page(total=100), 3, None) is None
    assert flaw_in(page(total=None), 3, None) is None
    assert flaw_in(page(total=None), 3, full(300, 500)) is not None
    assert flaw_in(page(total=None), 3, full(300, 100)) is None
    assert flaw_in(page(total=500, unreadable=1), 3, None) is None


def test_a_short_page_and_an_empty_one_end_a_list_that_counts_more_assets_than_it_shows():
    assert flaw_in(page(total=500), 3, page(1, 2, 3, total=500)) is None
    assert flaw_in(page(total=500), 3, page(1, 2, 3, total=500, unreadable=47)) is not None


def test_a_page_that_repeats_the_one_above_is_not_its_own():
    assert flaw_in(full(300, 500), 3, full(300, 500)) is not None
    assert flaw_in(full(300, 550), 3, full(300, 500)) is None, "50 assets were uploaded meanwhile"
    assert flaw_in(page(total=500, unreadable=50), 3, page(total=500, unreadable=50)) is None


@pytest.mark.parametrize(
    ("count", "total", "number", "lacks"),
    [
        pytest.param(50, 500, 2, False, id="full"),
        pytest.param(49, 500, 2, True, id="short"),
        pytest.param(20, 70, 2, False, id="the last one"),
        pytest.param(19, 70, 2, True, id="the last one, short"),
        pytest.param(3, None, 1, False, id="unknown"),
        pytest.param(0, 40, 2, False, id="past the end"),
    ],
)
def test_a_page_lacks_assets_if_the_list_has_more(count, total, number, lacks):
    assert lacks_assets(page(*range(count), total=total), number) is lacks


def test_a_page_with_elements_that_can_not_be_read_lacks_none():
    assert not lacks_assets(page(*range(40), total=500, unreadable=10), 1)


@pytest.mark.parametrize(
    ("first", "again", "both"),
    [
        ("abd", "acd", "abcd"),
        ("acd", "abd", "abcd"),
        ("bc", "ab", "abc"),
        ("ab", "cd", "cdab"),
        ("", "ab", "ab"),
        ("ab", "", "ab"),
    ],
)
def test_two_readings_show_what_either_shows_in_one_order(first, again, both):
    readings = [
        Page(tuple(asset_from({"_id": each, "status": "s"}) for each in ids), 0, 9, None) for ids in (first, again)
    ]
    found = united(*readings)
    assert ("".join(sorted(asset.id for asset in found.assets)), found.total) == ("".join(sorted(both)), 9)
    order = [asset.id for asset in found.assets]
    for ids in (first, again):
        assert [each for each in order if each in ids] == list(ids)


@pytest.mark.parametrize(
    ("first", "again", "both"),
    [("ab", "cd", "cdab"), ("ab", "acdb", "acdb"), ("abc", "axby", "axbyc"), ("abcd", "axy", "axybcd")],
)
def test_what_only_the_later_reading_shows_comes_right_after_what_it_follows_there(first, again, both):
    readings = [
        Page(tuple(asset_from({"_id": each, "status": "s"}) for each in ids), 0, 9, None) for ids in (first, again)
    ]
    assert "".join(asset.id for asset in united(*readings).assets) == both


def test_of_two_readings_the_later_one_says_what_an_asset_is():
    first, again = (
        Page((asset_from({"_id": "a", "status": status}),), 0, 1, at) for status, at in (("x", 1), ("y", 2))
    )
    assert united(first, again) == again

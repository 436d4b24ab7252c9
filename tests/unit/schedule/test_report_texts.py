"""The texts of a report, as people read them."""

from __future__ import annotations

from itertools import pairwise

import msgspec
import pytest

from asset_worker.schedule.adaptive import AdaptiveSchedule
from asset_worker.schedule.life_table import BINS, EDGES, quantile, survival_from
from asset_worker.schedule.ports import WaitState
from asset_worker.schedule.report import Row, briefs, plot, rows, seconds_text, table

ROW = Row(
    name="asset video/mp4 direct",
    evidence=12.4,
    p10=1.0,
    p50=2.5,
    p90=700.0,
    p99=7000.0,
    p50_interval=(1.2, 3.4),
    p90_interval=(600.0, None),
    p99_interval=(6000.0, 8000.0),
    looks=4.25,
    requests=2.125,
    lag=0.75,
    first_looks=[0.0, 2.0, 5.0, 9.5],
    density=[0.0] * BINS,
)
SHORT = msgspec.structs.replace(
    ROW,
    name="hls",
    evidence=1234.0,
    p50=250.0,
    p50_interval=(200.0, 300.0),
    p90_interval=(1.0, 2.0),
    p99_interval=(1.0, 2.0),
    looks=10.0,
    lag=12.0,
    first_looks=[0.0],
)


def shares(first: int, *values: float) -> list[float]:
    """The share of waits that end in each bin, from this bin on."""
    return [*[0.0] * first, *values, *[0.0] * (BINS - first - len(values))]


def plotted(density: list[float], looks: list[float] | None = None, width: int | None = None) -> list[str]:
    """The bars, the marks and the scale."""
    row = msgspec.structs.replace(ROW, density=density, first_looks=looks or [])
    title, *lines = (plot(row) if width is None else plot(row, width=width)).split("\n")
    assert title == "asset video/mp4 direct: 12 seen"
    return lines


def test_a_table_has_a_column_for_each_figure_as_wide_as_its_longest() -> None:
    heads, *lines = table([ROW, SHORT]).split("\n")
    assert heads == (
        "class                   seen               p50                p90               p99  looks  requests    lag"
        "  looks at"
    )
    assert lines[0] == (
        "asset video/mp4 direct    12  2.5s (1.2s-3.4s)  12m (10m or more)  1.9h (1.7h-2.2h)    4.2      2.12   0.8s"
        "  0.0s 2.0s 5.0s 9.5s"
    )
    assert lines[1] == (
        "hls                     1234  250s (200s-300s)    12m (1.0s-2.0s)  1.9h (1.0s-2.0s)   10.0      2.12  12.0s"
        "  0.0s"
    )
    assert len(lines) == 2


@pytest.mark.parametrize(
    ("duration", "text"),
    [
        (0.0, "0.0s"),
        (99.5, "99.5s"),
        (100.0, "100s"),
        (599.5, "600s"),
        (600.0, "10m"),
        (5969.5, "99m"),
        (5970.0, "1.7h"),
        (25_000.0, "6.9h"),
    ],
)
def test_durations_are_in_the_unit_that_people_would_choose(duration: float, text: str) -> None:
    assert seconds_text(duration) == text


def test_bars_are_the_shares_of_each_bin_and_marks_are_looks() -> None:
    """A look at the edge of a bin is in it. Looks before the first and after the last bar are left out."""
    density = shares(10, 0.1, 0.2, 0.4, 0.2, 0.1)
    assert plotted(density) == ["▂▄█▄▂", "", "0.7s 1.3s"]
    assert plotted(density, [0.0, 0.6, EDGES[12], 1.3, 2.0]) == ["▂▄█▄▂", "  ▲", "0.7s 1.3s"]
    assert plotted(density, [EDGES[10], EDGES[14]]) == ["▂▄█▄▂", "▲   ▲", "0.7s 1.3s"]
    assert plotted(density, [EDGES[15]]) == ["▂▄█▄▂", "", "0.7s 1.3s"]


def test_bars_of_several_bins_are_as_few_as_fit() -> None:
    density = shares(10, 0.1, 0.2, 0.4, 0.2, 0.1)
    assert plotted(density, [EDGES[12], EDGES[14]], width=3) == ["▄█▂", " ▲▲", "0.7s 1.4s"]
    assert plotted(density, [EDGES[12]], width=4) == ["▄█▂", " ▲", "0.7s 1.4s"]
    assert plotted(density, [EDGES[12]], width=5) == ["▂▄█▄▂", "  ▲", "0.7s 1.3s"]
    assert plotted(density, [EDGES[12]], width=2) == ["█▄", "▲", "0.7s 1.4s"]


@pytest.mark.parametrize(("bins", "columns"), [(72, 72), (73, 37)])
def test_a_plot_has_at_most_72_columns_unless_others_are_asked_for(bins: int, columns: int) -> None:
    bars, _, scale = plotted(shares(5, *[1 / bins] * bins))
    assert len(bars) == len(scale) == columns


def test_the_scale_reaches_from_the_first_bar_to_the_last() -> None:
    assert plotted(shares(41, *[0.05] * 20)) == ["█" * 20, "", "25.0s" + "250s".rjust(15)]


def test_bins_in_which_hardly_any_wait_ends_are_left_out_at_both_ends() -> None:
    """One in 500, that is. A bar is as high as the eighths of the highest one that have begun."""
    assert plotted(shares(3, 0.002, 0.0, 0.0021, 0.5, 0.0, 0.2501, 0.0021, 0.0, 0.002))[0] == "▁█ ▅▁"


def test_the_first_and_the_last_bin_may_be_all_there_is() -> None:
    assert plotted(shares(0, 1.0), [0.0]) == ["█", "▲", "0.0s 0.2s"]
    assert plotted(shares(100, 1.0), [23_000.0]) == ["█", "▲", "6.2h 6.9h"]
    assert plotted(shares(99, 0.5, 0.5))[0] == "██"


def test_where_no_wait_ends_the_plot_is_empty() -> None:
    """Two bins each in 51 columns; the last of them is one bin wide."""
    assert plotted(shares(0), [0.0, 24_000.0]) == [" " * 51, "▲" + " " * 49 + "▲", "0.0s" + "6.9h".rjust(47)]
    assert plotted(shares(0), width=101)[0] == " " * 101


def seen(*, ends: int, waits: int) -> AdaptiveSchedule:
    """Ends after a minute, and waits that go on for longer than all bins."""
    schedule = AdaptiveSchedule(initial=2, multiplier=1.5, maximum=30, uniform=lambda: 0.5)
    for _ in range(waits):
        schedule.observe(WaitState(2, age=30_000.0), since=0.0)
    for _ in range(ends):
        schedule.observe(WaitState(2, age=55.0), since=0.0)
        schedule.observe(WaitState(3, age=60.0, waiting_on=()), since=55.0, ended=("asset",))
    return schedule


def test_a_row_has_the_percentiles_and_the_density_of_the_estimate() -> None:
    schedule = seen(ends=30, waits=0)
    [row] = rows(schedule)
    [key] = schedule.evidence()
    survival = survival_from(schedule.plan_for(key).rates)
    assert [row.p10, row.p50, row.p90, row.p99] == [quantile(share, survival) for share in (0.1, 0.5, 0.9, 0.99)]
    assert row.looks == row.requests == 1 + schedule.plan_for(key).plan.looks
    assert row.density == [start - end for start, end in pairwise(survival)]
    assert row.first_looks == schedule.plan_for(key).plan.first_looks(12)


def test_a_class_of_which_one_wait_has_ended_is_in_the_short_report() -> None:
    [brief] = briefs(seen(ends=1, waits=0), most=9)
    assert 0 < brief.evidence < 1, "it has decayed a little"


def test_a_percentile_that_was_not_reached_in_all_bins_has_no_upper_bound() -> None:
    """Half of these waits go on past the last bin, so nobody knows when nine tenths will have ended."""
    [row] = rows(seen(ends=30, waits=30))
    assert row.p90 == EDGES[-1]
    assert row.p90_interval == (EDGES[-1], None)
    assert row.p50_interval[1] is None

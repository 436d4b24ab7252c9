"""A history that breaks a promise is made as short as it can be."""

from asset_worker.simulator import lifecycles
from asset_worker.simulator.lifecycles import Lifecycle
from tests.simulation import actions, disk_faults, faults, history, rate_limits, receivers, setup
from tests.simulation.actions import Append, Kill, Pause
from tests.simulation.history import History, draw_history
from tests.simulation.setup import Setup
from tests.simulation.shrinking import shrink


def test_only_what_breaks_the_promise_is_left() -> None:
    """Neither settings, actions nor assets that play no part."""
    lives = tuple(Lifecycle(ends_after=float(number)) for number in range(8))
    long = History(
        Setup(account=True, webhooks=2, grace=5.0),
        (Pause(after=3), Append(after=1.25, lives=lives, junk=("{",), repeats=3), Pause(after=4), Kill(power=True)),
    )

    def breaks(shorter: History) -> bool:
        appended = [life for each in shorter.actions if isinstance(each, Append) for life in each.lives]
        return lives[5] in appended and any(isinstance(each, Kill) for each in shorter.actions)

    assert shrink(long, breaks) == History(Setup(), (Append(after=1.0, lives=(lives[5],)), Kill()))


def test_a_shrunk_history_is_printed_as_the_python_that_makes_it() -> None:
    """It is pasted into `test_regressions.py` as it is."""
    names = _names()
    for seed in range(20):
        drawn = draw_history(seed)
        assert eval(repr(drawn), names) == drawn


def _names() -> dict[str, object]:
    """Return what `test_regressions.py` may import."""
    names: dict[str, object] = {"inf": float("inf")}
    for module in (lifecycles, actions, disk_faults, faults, history, rate_limits, receivers, setup):
        names |= {name: value for name, value in vars(module).items() if not name.startswith("_")}
    return names

"""When a receiver is down, is paused and works again."""

from hypothesis import given
from hypothesis import strategies as st

from asset_worker.domain.deliveries import Condition
from asset_worker.sinks.endpoint import (
    FAILURES_TO_DOWN,
    FIRST_PROBE_SECONDS,
    LONGEST_PROBE_SECONDS,
    UP,
    Endpoint,
    still_down,
)
from asset_worker.sinks.ports import Delivered, Failed, Gone

FAILED = Failed("HTTP 500")


def failing(*positions, endpoint=UP, start=0.0):
    for second, position in enumerate(positions):
        endpoint = endpoint.after(FAILED, position=position, now=start + second)
    return endpoint


def slots(endpoint, *, in_flight=0, now=0.0):
    return endpoint.slots(in_flight=in_flight, concurrency=8, now=now)


def test_ten_failures_in_a_row_of_several_events_make_it_down():
    """The first of them tells since when."""
    nearly = failing(*range(FAILURES_TO_DOWN - 1), start=100.0)
    assert (nearly.is_down, nearly.condition, slots(nearly)) == (False, None, 8)
    down = nearly.after(Failed("HTTP 503"), position=3, now=120.0)
    assert down.condition == Condition("down", 100.0, "HTTP 503")
    assert down.probe_at == 120.0 + FIRST_PROBE_SECONDS


def test_one_event_alone_never_makes_it_down():
    """Its retry plan decides."""
    endpoint = failing(*[7] * 50)
    assert not endpoint.is_down
    assert failing(8, endpoint=endpoint).is_down
    assert failing(7, 8, *[7] * 8).is_down, "whichever fails last"


def test_any_success_ends_the_row():
    """Also if it is that of an event that was on its way before."""
    endpoint = failing(*range(9)).after(Delivered(), position=4, now=9.0)
    assert endpoint == UP
    assert not failing(*range(9), endpoint=endpoint).is_down
    assert failing(*range(20)).after(Delivered(), position=4, now=30.0) == UP


def test_a_receiver_that_is_down_gets_one_probe_at_a_time_at_growing_intervals():
    """The delay doubles, up to a minute; nothing is sent while another request is on its way."""
    endpoint, now = failing(*range(10)), 9.0
    delays = []
    for _ in range(9):
        assert slots(endpoint, now=endpoint.probe_at - 0.01) == 0
        assert slots(endpoint, in_flight=1, now=endpoint.probe_at) == 0
        assert slots(endpoint, now=endpoint.probe_at) == 1
        delays.append(endpoint.probe_at - now)
        now = endpoint.probe_at
        endpoint = endpoint.after(FAILED, position=1, now=now)
    assert delays == [1, 2, 4, 8, 16, 32, LONGEST_PROBE_SECONDS, LONGEST_PROBE_SECONDS, LONGEST_PROBE_SECONDS]


def test_requests_that_were_on_their_way_are_no_probes():
    """They end after the receiver was found to be down, and put the first probe off no further."""
    down = failing(*range(10))
    later = down.after(Failed("late"), position=11, now=9.5)
    assert (later.probe_at, later.error) == (down.probe_at, "late")


def test_a_receiver_that_asks_for_a_wait_is_not_probed_before():
    """Up to a minute, whoever of those on their way hears it."""
    endpoint = failing(*range(9)).after(Failed("HTTP 429", 20.0), position=9, now=9.0)
    assert endpoint.probe_at == 29.0
    late = endpoint.after(Failed("HTTP 429", 30.0), position=10, now=10.0)
    assert late.probe_at == 40.0
    probed = late.after(Failed("HTTP 429", 1e9), position=11, now=40.0)
    assert probed.probe_at == 40.0 + LONGEST_PROBE_SECONDS
    assert probed.after(FAILED, position=12, now=100.0).probe_at == 104.0


def test_a_receiver_that_is_gone_gets_nothing_until_it_is_resumed():
    """Whatever those answer that were on their way."""
    gone = failing(1, 2).after(Gone("HTTP 410"), position=3, now=50.0)
    assert gone.condition == Condition("paused", 50.0, "HTTP 410")
    for result in (Delivered(), FAILED, Gone("again")):
        assert gone.after(result, position=4, now=60.0) == gone
    assert slots(gone, now=1e9) == 0


def test_a_receiver_that_is_resumed_works_unless_it_was_down():
    """Then it is down until it accepts an event: all that it is owed is due only then."""
    assert failing(1, 2).after(Gone("HTTP 410"), position=3, now=50.0).resumed(60.0) == UP
    resumed = failing(*range(10)).after(Gone("HTTP 410"), position=3, now=50.0).resumed(60.0)
    assert (resumed.is_down, resumed.is_paused, slots(resumed, now=60.0)) == (True, False, 1)
    assert resumed.after(FAILED, position=1, now=60.0).is_down
    assert resumed.after(Delivered(), position=1, now=60.0) == UP
    assert failing(1).resumed(60.0) == failing(1)


def test_somebody_may_ask_for_a_probe_at_once():
    """The intervals then start from the shortest."""
    endpoint = failing(*range(16), endpoint=UP).resumed(100.0)
    assert slots(endpoint, now=100.0) == 1
    assert endpoint.after(FAILED, position=1, now=100.0).probe_at == 100.0 + 2 * FIRST_PROBE_SECONDS


@given(
    st.lists(
        st.tuples(
            st.integers(1, 4),
            st.sampled_from([Delivered(), FAILED, Failed("HTTP 429", 30.0), Failed("HTTP 429", 1e9)]),
            st.floats(0, 100),
        ),
        max_size=60,
    )
)
def test_it_is_down_exactly_while_the_row_is_long_enough(attempts):
    """And a probe is never more than a minute away."""
    endpoint, now, row = UP, 0.0, []
    for position, result, seconds in attempts:
        now += seconds
        endpoint = endpoint.after(result, position=position, now=now)
        row = [*row, position] if isinstance(result, Failed) else []
        is_long = len(row) >= FAILURES_TO_DOWN and len(set(row)) > 1
        assert endpoint.is_down == is_long
        if endpoint.probe_at is not None:
            assert endpoint.probe_at <= now + LONGEST_PROBE_SECONDS


def test_a_receiver_that_refuses_steps_is_not_down():
    """It may refuse all of them, and take every completion."""
    endpoint = UP
    for position in range(50):
        endpoint = endpoint.after(FAILED, position=position, now=1.0, is_transition=True)
    assert endpoint == UP
    for position in range(FAILURES_TO_DOWN):
        endpoint = endpoint.after(FAILED, position=position, now=1.0)
    assert endpoint.is_down
    probed = endpoint.after(FAILED, position=99, now=5.0, is_transition=True)
    assert probed.probe_at is not None
    assert probed.probe_at > 5.0, "a step that fails as a probe is a probe that failed"


def test_a_step_that_is_accepted_ends_the_row_and_one_that_finds_it_gone_pauses_it():
    """Only a failure of a step says nothing."""
    failed = failing(*range(9))
    assert failed.after(FAILED, position=9, now=9.0, is_transition=True) == failed
    assert failed.after(Delivered(), position=9, now=9.0, is_transition=True) == UP
    gone = failed.after(Gone("HTTP 410"), position=9, now=9.0, is_transition=True)
    assert gone.condition == Condition("paused", 9.0, "HTTP 410")


def test_a_receiver_that_works_gets_as_many_events_as_its_concurrency_allows():
    assert [slots(UP, in_flight=count) for count in (0, 3, 8, 9)] == [8, 5, 0, 0]


def test_a_receiver_that_was_down_when_the_last_run_ended_is_probed_at_once():
    """It is down since then, and one failure more is no new outage."""
    found = still_down(Condition("down", 50.0, "HTTP 503"), now=100.0)
    assert found == Endpoint(failures=10, is_of_several=True, since=50.0, error="HTTP 503", probe_at=100.0)
    assert [slots(found, now=now) for now in (99.9, 100.0)] == [0, 1]
    assert found.after(FAILED, position=1, now=100.0).condition == Condition("down", 50.0, "HTTP 500")

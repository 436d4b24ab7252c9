"""What is derived from the settings and the plan: one table for each policy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from asset_worker import policies, wiring
from asset_worker.api.key import ApiKey
from asset_worker.domain.run_plan import RunPlan
from asset_worker.runtime.clock import SystemClock
from asset_worker.runtime.redaction import Secrets
from asset_worker.runtime.stop import Stop
from asset_worker.settings.tree import Settings
from asset_worker.sinks.ports import UnusableTargetError

KEEPS = RunPlan()
KEEPS_NOTHING = RunPlan(keeps_state=False)


def settings(**sections: dict[str, Any]) -> Settings:
    return Settings.model_validate(sections)


@pytest.mark.parametrize("strategy", ["fixed", "exponential", "adaptive"])
def test_only_a_schedule_that_learns_and_a_run_that_keeps_state_write_it_down(strategy: str, tmp_path: Path):
    chosen = settings(poll={"strategy": strategy}, state={"dir": tmp_path})
    for plan in (KEEPS, KEEPS_NOTHING):
        keeper = wiring.make_schedule_keeper(chosen, plan, wiring.make_schedule(chosen, plan))
        assert (keeper is not None) == (strategy == "adaptive" and plan.keeps_state)


@pytest.mark.parametrize(
    ("plan", "is_final"),
    [
        pytest.param(RunPlan(), False, id="a service"),
        pytest.param(RunPlan(once=True, key_refused_limit=60.0), True, id="--once"),
        pytest.param(RunPlan(keeps_state=False, key_refused_limit=0.0), True, id="wait"),
    ],
)
def test_only_where_somebody_waits_the_refusal_of_one_asset_ends_its_wait(
    plan: RunPlan, is_final: bool, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(wiring, "Poller", lambda *_, policy, **__: policy)
    nothing: Any = None
    fixed = policies.schedule(settings(poll={"strategy": "fixed"}).poll, None, lambda: 0.5)
    policy: Any = wiring.make_poller(
        Settings(), plan, queue=nothing, api=nothing, gate=nothing, chosen=fixed, clock=SystemClock(), secrets=Secrets()
    )
    assert policy.refusal_is_final is is_final


@pytest.mark.parametrize("once", [True, False])
async def test_the_settings_of_the_queue_reach_its_intakes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, once: bool):
    opened: list[Any] = []
    monkeypatch.setattr(wiring, "open_intake", lambda source, context: opened.append((source, context)))
    chosen = settings(queue={"file": str(tmp_path / "queue"), "rotated": ["done-NAME"], "partial_wait": 9})
    plan, key = RunPlan(once=once, keeps_state=False), ApiKey(value="tlk_test", file=None, on_read=lambda _: None)
    async with wiring.build(chosen, plan, key=key, secrets=Secrets(), clock=SystemClock(), stop=Stop()):
        pass
    [(source, context)] = opened
    assert source == tmp_path / "queue"
    assert (context.rotated, context.partial_wait, context.once) == (("done-NAME",), 9, once)


class Recorded:
    """An outbox that knows this about each sink."""

    def __init__(self, checkpoint: bytes | None) -> None:
        self._checkpoint = checkpoint

    async def checkpoint(self, _sink: str) -> bytes | None:
        return self._checkpoint


async def test_a_directory_is_refused_as_a_sink_unless_it_was_a_file_in_an_earlier_run(tmp_path: Path):
    """Other problems, such as a directory that is missing, may pass."""
    new: Any = Recorded(None)
    earlier: Any = Recorded(b"here")
    with pytest.raises(UnusableTargetError, match="is a directory: name a file in it"):
        await wiring.refuse_unusable(str(tmp_path), new, "file:x")
    await wiring.refuse_unusable(str(tmp_path), earlier, "file:x")
    await wiring.refuse_unusable(str(tmp_path / "missing" / "events"), new, "file:x")


async def test_a_sink_that_can_not_be_used_fails_before_anything_starts(tmp_path: Path):
    """So `/readyz` shows it in its first answer."""
    chosen = settings(events={"sinks": [str(tmp_path / "missing" / "events")]})
    key, clock = ApiKey(value="tlk_test", file=None, on_read=lambda _: None), SystemClock()
    async with wiring.build(chosen, KEEPS_NOTHING, key=key, secrets=Secrets(), clock=clock, stop=Stop()) as parts:
        [delivery] = parts.deliveries
        assert delivery.failing_since is not None
        assert "does not exist: create it" in (delivery.last_error or "")

"""A lease, an observation of its asset, and what is decided from both."""

from __future__ import annotations

from asset_worker.domain.assets import Expectations, asset_from
from asset_worker.domain.progress import Progress
from asset_worker.domain.submissions import Submission
from asset_worker.poller.decide import decide
from asset_worker.queue.ports import Lease
from asset_worker.runtime.redaction import Secrets
from asset_worker.schedule.waits import exponential, from_tenacity

ID = "6298d673f1090f1100476d4c"
IDS = [f"{number:024x}" for number in range(1, 4)]
NOW = 1_795_442_400.0


def no_jitter():
    return 0.0


SCHEDULE = from_tenacity(exponential(initial=2, multiplier=1.5, maximum=30, uniform=no_jitter))


def lease(*, age=10.0, ready_age=None, missing_age=None, progress=None, options=None):
    return Lease(Submission(ID, "stdin", 1, options), NOW - age, age, ready_age, missing_age, 1, progress or Progress())


def seen(status="processing", **more):
    return asset_from({"_id": ID, "status": status, **more})


def decided(found, observation, *, held=0.0, is_retrieve=True, expectations=None, schedule=SCHEDULE, **options):
    return decide(
        found,
        observation,
        held=held,
        is_retrieve=is_retrieve,
        expectations=expectations or Expectations(),
        schedule=schedule,
        now=NOW,
        wall_offset=0.0,
        source="https://x/assets",
        **{"redact": Secrets().redact} | options,
    )

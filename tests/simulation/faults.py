"""What may go wrong with the simulated assets API: each fault is one small value, whose repr makes it again.

Faults that are drawn (`draw_fault`) never show an asset as it never was, unless in a list and in a shape that no
retrieve confirms: a lying document lacks its `filename`, which each retrieve has.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from random import Random
from typing import Final, Literal, TypeAlias

import msgspec

from tests.doubles import list_faults
from tests.simulation.answers import CONNECTION_ERRORS
from tests.simulation.rate_limits import TOLD, RateLimits, Window

Where: TypeAlias = Literal["everywhere", "retrieve", "list"]
"""Which requests a fault concerns. A page is a list."""


class Disconnected(msgspec.Struct, frozen=True):
    """Nothing arrives: the requests end in one of `CONNECTION_ERRORS`."""

    how: str = "refused"
    share: float = 1.0
    where: Where = "everywhere"


class DeadConnections(msgspec.Struct, frozen=True):
    """Connections that were made before `made_before` (in the loop's time) never answer again."""

    made_before: float


class Failing(msgspec.Struct, frozen=True):
    """Requests are answered with this status."""

    status: int = 503
    page: Literal["json", "html"] = "json"
    """An error of the API, or the page of a gateway."""
    code: str = "internal_server_error"
    """Of an error of the API."""
    retry_after: int | None = None
    share: float = 1.0
    where: Where = "everywhere"


class Hanging(msgspec.Struct, frozen=True):
    """Requests arrive, and are never answered."""

    share: float = 1.0
    where: Where = "everywhere"


class Slow(msgspec.Struct, frozen=True):
    """Answers take up to so many seconds more."""

    seconds: float = 8.0
    part: Literal["head", "body"] = "head"
    share: float = 1.0
    where: Where = "everywhere"


class Cut(msgspec.Struct, frozen=True):
    """Connections break in the middle of the body."""

    share: float = 1.0
    where: Where = "everywhere"


class NotJson(msgspec.Struct, frozen=True):
    """Answers are 200, with a text that is not JSON."""

    share: float = 1.0
    where: Where = "everywhere"


class AssetRefused(msgspec.Struct, frozen=True):
    """Some assets are another account's: 403 for each, and missing in lists."""

    one_in: int = 3
    which: int = 0
    """Those whose ID modulo `one_in` is this."""


class ListLags(msgspec.Struct, frozen=True):
    """Lists show the state of so many seconds ago."""

    seconds: float = 30.0
    pages: bool = False
    """Whether pages of all assets do so, too."""


class ListLies(msgspec.Struct, frozen=True):
    """Lists of assets by their IDs show what is not true, or leave it out: one of `LIES`."""

    how: str = "foresees"


class ListMalformed(msgspec.Struct, frozen=True):
    """This share of the elements of lists can't be read."""

    share: float = 0.3
    pages: bool = False
    """Whether those of pages, too."""


class PagesShift(msgspec.Struct, frozen=True):
    """Pages after the first begin up to so many assets earlier, as if assets were uploaded between two pages."""

    most: int = 3


class DatesOff(msgspec.Struct, frozen=True):
    """This share of the answers has a `Date`, and resets, of a clock that is so many seconds off."""

    seconds: float = 300.0
    share: float = 1.0


Fault: TypeAlias = (
    Disconnected
    | DeadConnections
    | Failing
    | Hanging
    | Slow
    | Cut
    | NotJson
    | AssetRefused
    | ListLags
    | ListLies
    | ListMalformed
    | PagesShift
    | DatesOff
)

LIES: Final[Mapping[str, list_faults.Fault]] = {
    # These may leave something out, and show nothing false.
    "skips": list_faults.skips(0.3),
    "skips some always": list_faults.skips_some_always,
    "is empty": list_faults.is_empty,
    "has strangers": list_faults.has_strangers,
    "flaps": list_faults.flaps(40.0),
} | {
    name: list_faults.both(fault, list_faults.drops("filename"))
    for name, fault in {
        "foresees": list_faults.foresees(0.5),
        "rotates": list_faults.rotates,
        "swaps": list_faults.swaps(0.5),
        "copies": list_faults.copies(0.3),
        "shows anybody": list_faults.shows_anybody(0.3),
        "drops fields": list_faults.drops_fields(0.5),
        "drops renditions": list_faults.drops_renditions(0.5),
        "drops addresses": list_faults.drops_addresses(0.5),
        "damages renditions": list_faults.damages_renditions(0.5),
        "has an unknown status": list_faults.has_another_status("archived"),
        "has no status": list_faults.has_another_status(None),
        "says only ready": list_faults.says_only_ready,
        "renditions say ready": list_faults.renditions_say_ready,
        "says failed": list_faults.says_failed,
    }.items()
}
"""How lists may lie."""

KEY_CODES: Final = (
    (401, "api_key_invalid"),
    (401, "unauthorized"),
    (403, "api_not_allowed"),
    (403, "api_allowed_for_paid_plan"),
    (403, "region_not_allowed"),
)


def _share(random: Random) -> float:
    return random.choice((0.05, 0.3, 1.0, 1.0))


def _where(random: Random) -> Where:
    return random.choice(("everywhere", "everywhere", "retrieve", "list"))


def key_refused(status: int = 401, code: str = "api_key_invalid") -> Failing:
    """Return the fault that the API refuses every key."""
    return Failing(status, "json", code)


def edge_refuses(status: int = 403) -> Failing:
    """Return the fault that something on the way refuses everything, with a page of its own."""
    return Failing(status, "html")


_DRAWS: Final[tuple[tuple[int, Callable[[Random], Fault]], ...]] = (
    (4, lambda random: Disconnected(random.choice([*CONNECTION_ERRORS]), _share(random), _where(random))),
    (
        5,
        lambda random: Failing(
            random.choice((408, 500, 502, 503, 503, 504)),
            random.choice(("json", "html")),
            retry_after=random.choice((None, None, 3, 20)),
            share=_share(random),
            where=_where(random),
        ),
    ),
    (3, lambda random: Hanging(_share(random), _where(random))),
    (
        3,
        lambda random: Slow(random.choice((2.0, 8.0, 20.0)), random.choice(("head", "body")), _share(random)),
    ),
    (2, lambda random: Cut(_share(random), _where(random))),
    (1, lambda random: NotJson(_share(random), _where(random))),
    (2, lambda random: key_refused(*random.choice(KEY_CODES))),
    (1, lambda random: edge_refuses(random.choice((401, 403)))),
    (1, lambda random: AssetRefused(3, random.randrange(3))),
    (3, lambda random: ListLags(random.choice((5.0, 30.0, 120.0)))),
    (5, lambda random: ListLies(random.choice([*LIES]))),
    (
        2,
        lambda random: Failing(
            random.choice((400, 404, 405, 422)), code=random.choice(("parameter_invalid", "not_allowed")), where="list"
        ),
    ),
    (2, lambda random: ListMalformed(random.choice((0.1, 0.5)))),
    (1, lambda random: PagesShift(random.choice((1, 5, 60)))),
    (1, lambda random: DatesOff(random.choice((-3600.0, 90.0, 600.0)), _share(random))),
)


def draw_fault(random: Random) -> Fault:
    """Return a random fault. `DeadConnections` is not drawn: it needs the present time."""
    [draw] = random.choices([each for _, each in _DRAWS], [weight for weight, _ in _DRAWS])
    return draw(random)


def draw_limits(random: Random) -> RateLimits:
    """Return random rate limits, which a history of some hundred assets will often meet."""
    windows = [Window(random.choice((10, 30, 60, 300)), 60.0, random.choice(("fixed", "sliding", "bucket")))]
    if random.random() < 0.3:
        windows.append(Window(random.choice((500, 5_000)), 86_400.0))
    if random.random() < 0.2:
        windows.append(Window(5, 1.0))
    return RateLimits(
        tuple(windows),
        random.choice(TOLD),
        others=random.choice((0.0, 0.0, 0.05, 0.5)),
        only=random.choice((None, None, None, "list", "retrieve")),
    )

"""Faults of lists. Each takes what lists show without it, and returns what they show with it: they can be combined."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from random import Random

from asset_worker.api.errors import ListRefusedError, TransientError
from tests.doubles.world import Document, View, World

Fault = Callable[[World, View], View]
"""Takes the world and the view of its lists, and returns the view that they have with the fault."""

Shown = dict[str, Document | None]


def lags(seconds: float) -> Fault:
    """A list shows the state of so many seconds ago."""
    return lambda world, view: lambda asset_ids, moment: view(asset_ids, moment - seconds)


def freezes(at: float) -> Fault:
    """A list shows the state of one moment for ever."""
    return lambda world, view: lambda asset_ids, moment: view(asset_ids, min(moment, at))


def flaps(seconds: float) -> Fault:
    """Every second list shows the state of so many seconds ago."""

    def fault(world: World, view: View) -> View:
        return lambda asset_ids, moment: view(asset_ids, moment - seconds * (len(world.lists) % 2))

    return fault


def _changing(change: Callable[[World, Random, Shown, float], Shown]) -> Fault:
    def fault(world: World, view: View) -> View:
        return lambda asset_ids, moment: change(world, world.random, view(asset_ids, moment), moment)

    return fault


def _each(share: float, change: Callable[[World, Random, str, Document, float], Document | None]) -> Fault:
    """A fault of single documents, in this share of them."""

    def changed(world: World, random: Random, shown: Shown, moment: float) -> Shown:
        return {
            asset_id: change(world, random, asset_id, each, moment) if each and random.random() < share else each
            for asset_id, each in shown.items()
        }

    return _changing(changed)


def skips(share: float) -> Fault:
    """A list leaves out this share of its assets."""
    return _changing(
        lambda world, random, shown, moment: {name: each for name, each in shown.items() if random.random() >= share}
    )


def skips_some_always(world: World, view: View) -> View:
    """A list never shows the assets whose ID ends in an even digit."""
    return lambda asset_ids, moment: view([each for each in asset_ids if int(each, 16) % 2], moment)


def is_empty(world: World, view: View) -> View:
    """A list shows nothing."""
    return lambda asset_ids, moment: {}


def has_strangers(world: World, view: View) -> View:
    """A list also shows assets that were not asked for."""
    return lambda asset_ids, moment: view([*asset_ids, *world.assets][:80], moment)


def rotates(world: World, view: View) -> View:
    """Each asset of a list has the document of the next one."""
    return _changing(lambda world, random, shown, moment: _rotated(shown))(world, view)


def _rotated(shown: Mapping[str, Document | None]) -> Shown:
    ids, documents = [*shown], [*shown.values()]
    turned = zip(ids, documents[1:] + documents[:1], strict=True)
    return {asset_id: None if each is None else each | {"_id": asset_id} for asset_id, each in turned}


def swaps(share: float) -> Fault:
    """In this share of lists, two assets have each other's documents."""

    def changed(world: World, random: Random, shown: Shown, moment: float) -> Shown:
        if len(shown) < 2 or random.random() >= share:
            return shown
        return shown | _rotated({asset_id: shown[asset_id] for asset_id in random.sample([*shown], 2)})

    return _changing(changed)


def copies(share: float) -> Fault:
    """This share of a list's assets have the document of another asset of the list, which has it, too."""

    def changed(world: World, random: Random, shown: Shown, moment: float) -> Shown:
        others = [each for each in shown.values() if each]
        return {
            asset_id: random.choice(others) | {"_id": asset_id} if each and random.random() < share else each
            for asset_id, each in shown.items()
        }

    return _changing(changed)


def shows_anybody(share: float) -> Fault:
    """This share of a list's assets have the document of any asset of the account."""

    def another(world: World, random: Random, asset_id: str, own: Document, moment: float) -> Document:
        other = world.assets[random.choice([*world.assets])].at(moment)
        return own if other is None else other | {"_id": asset_id}

    return _each(share, another)


OPTIONAL = ("created_at", "file_type", "filename", "method", "size", "duration", "technical_metadata", "user_metadata")


def drops_fields(share: float) -> Fault:
    """Documents lack some fields that say nothing about the state."""

    def fewer(world: World, random: Random, asset_id: str, own: Document, moment: float) -> Document:
        dropped = random.sample(OPTIONAL, 3)
        return {name: value for name, value in own.items() if name not in dropped}

    return _each(share, fewer)


def drops(*names: str) -> Fault:
    """Documents lack these fields."""
    return _each(1.0, lambda world, random, asset_id, own, moment: _without(own, names))


def drops_renditions(share: float) -> Fault:
    """Documents lack a rendition, or both."""

    def fewer(world: World, random: Random, asset_id: str, own: Document, moment: float) -> Document:
        return _without(own, random.choice([("hls",), ("thumbnail",), ("hls", "thumbnail")]))

    return _each(share, fewer)


def _without(own: Document, names: Sequence[str]) -> Document:
    return {name: value for name, value in own.items() if name not in names}


def _with_renditions(own: Document, change: Callable[[Document], object]) -> Document:
    return own | {name: change(own[name]) for name in ("hls", "thumbnail") if isinstance(own.get(name), dict)}


def drops_addresses(share: float) -> Fault:
    """Renditions have a status and nothing else."""

    def bare(world: World, random: Random, asset_id: str, own: Document, moment: float) -> Document:
        return _with_renditions(own, lambda rendition: {"status": rendition["status"]})

    return _each(share, bare)


def damages_renditions(share: float) -> Fault:
    """Renditions are empty, null, lists, or bare texts."""

    def odd(world: World, random: Random, asset_id: str, own: Document, moment: float) -> Document:
        return _with_renditions(own, lambda rendition: random.choice([{}, None, [], rendition["status"], "ready"]))

    return _each(share, odd)


def has_another_status(status: object) -> Fault:
    """Documents have this status."""
    return _each(0.5, lambda world, random, asset_id, own, moment: own | {"status": status})


def says_only_ready(world: World, view: View) -> View:
    """Documents of assets in process say `ready`, and are otherwise as they are."""
    return _each(1.0, lambda world, random, asset_id, own, moment: own | {"status": "ready"})(world, view)


def renditions_say_ready(world: World, view: View) -> View:
    """Renditions in process say `ready`, without an address."""
    return _each(
        1.0,
        lambda world, random, asset_id, own, moment: _with_renditions(own, lambda each: each | {"status": "ready"}),
    )(world, view)


def foresees(share: float) -> Fault:
    """Documents of this share of assets show their last state already: a lie that no shape gives away."""

    def last(world: World, random: Random, asset_id: str, own: Document, moment: float) -> Document | None:
        truth = world.assets[asset_id]
        moments = [each for each in truth.moments() if math.isfinite(each)]
        return truth.at(max(moment, *moments)) if random.random() < share else own

    return _each(1.0, last)


def says_failed(world: World, view: View) -> View:
    """Documents say `failed`, as if processing had just failed."""
    return _each(
        1.0,
        lambda world, random, asset_id, own, moment: (
            _without(own, ("hls", "thumbnail", "duration"))
            | {"status": "failed", "size": 1, "technical_metadata": {}, "error": {"message": "no frames"}}
        ),
    )(world, view)


def is_refused(world: World, view: View) -> View:
    """Lists are refused."""

    def refused(asset_ids: Sequence[str], moment: float) -> Shown:
        raise ListRefusedError("400 no lists")

    return refused


def fails(share: float) -> Fault:
    """This share of lists fail."""

    def changed(world: World, random: Random, shown: Shown, moment: float) -> Shown:
        if random.random() < share:
            raise TransientError("503 try again")
        return shown

    return _changing(changed)


def both(first: Fault, second: Fault) -> Fault:
    """Two faults: the second one changes what the first one shows."""
    return lambda world, view: second(world, first(world, view))

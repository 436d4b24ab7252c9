"""Whether one asset is denied rather than all: a value that is updated with each answer and denial.

A *denial* is an answer that may be about one asset or about everything: a refusal by the API (another account's asset,
or a refused key), or a 404 without the API's code (a deleted asset, or the default page of a gateway). What others get
in the meantime shows which of the two it is. So while an asset is denied and nobody else is looked at, another asset
that was answered before, the *witness*, is asked about before the denied one is asked about again.

Lists are no evidence here: they may be answered while every retrieve is denied.

Nothing here waits or reads a clock; instants are monotonic seconds.
"""

from __future__ import annotations

from typing import Final

import msgspec

from asset_worker.domain.assets import AssetId

DENIALS: Final = 3
"""So many denials of one asset, with others answered between each two, are about this asset: a key or a gateway that
fails from time to time may hit the same asset twice by chance."""
MAX_WITNESSES: Final = 2
"""One may be the denied asset itself."""


class _Denied(msgspec.Struct, frozen=True):
    since: float
    times: int
    """Denials, with others answered between each two."""
    answers: int
    """Answers about any asset up to the latest of them."""
    questions: int
    """Times that a witness had been asked about up to then."""


class PerAssetRefusals:
    """Which assets are denied, and what others are answered meanwhile."""

    def __init__(self) -> None:
        self._denied: dict[AssetId, _Denied] = {}
        self._witnesses: dict[AssetId, None] = {}
        self._answers = 0
        self._questions = 0
        self._any_was_shown = False
        self._known_was_refused = False

    @property
    def key_is_refused(self) -> bool:
        """Whether refusals are the key's: no asset was shown before, or one that was shown before is refused now."""
        return self._known_was_refused or not self._any_was_shown

    def answered(self, asset_id: AssetId) -> None:
        """Record that a retrieve of this asset was answered: the key works, and so does the way to the API.

        If it was denied before, then denials come and go whatever they are about: those of other assets count anew.
        """
        self._answers += 1
        self._known_was_refused = False
        if asset_id in self._denied:
            self._denied.clear()
        self.shown(asset_id)

    def shown(self, asset_id: AssetId) -> None:
        """Record that a list showed this asset, so that a retrieve of it is answered unless all are denied."""
        self._any_was_shown = True
        self._witnesses.pop(asset_id, None)
        self._witnesses[asset_id] = None
        if len(self._witnesses) > MAX_WITNESSES:
            del self._witnesses[next(iter(self._witnesses))]

    def unanswered(self, asset_id: AssetId) -> None:
        """Record that a retrieve of this asset failed in a way that denies nothing: its denials are interrupted."""
        self._denied.pop(asset_id, None)

    def denied(self, asset_id: AssetId, now: float, *, by_api: bool) -> float | None:
        """Record that a retrieve of this asset was denied. `by_api`: the API refused it (401 or 403 with its code).

        Returns:
            The seconds since the first denial, if the asset alone is denied: at least `DENIALS` times, with others
            answered between each two. None: it may be due to the key or a gateway.
        """
        if by_api and asset_id in self._witnesses:
            self._known_was_refused = True
        self._witnesses.pop(asset_id, None)
        before = self._denied.get(asset_id)
        # With nobody answered since the latest one, the key or the gateway may have failed only now.
        since, times = (now, 0) if before is None or before.answers == self._answers else (before.since, before.times)
        self._denied[asset_id] = _Denied(since, times + 1, self._answers, self._questions)
        return now - since if times + 1 >= DENIALS else None

    def is_denied(self, asset_id: AssetId) -> bool:
        """Return whether the latest retrieve of this asset was denied."""
        return asset_id in self._denied

    def witness_for(self, asset_id: AssetId) -> AssetId | None:
        """Return the asset to ask about before this one, which was denied.

        None: there is no need, because others were asked about since, or no asset was shown before.
        """
        denied = self._denied.get(asset_id)
        if denied is None or (self._answers, self._questions) != (denied.answers, denied.questions):
            return None
        return next((each for each in reversed(self._witnesses) if each != asset_id), None)

    def asked(self) -> None:
        """Record that a witness is asked about, whatever comes of it."""
        self._questions += 1

    def witness_was_refused(self) -> None:
        """Record that the API refused a retrieve of a witness (401 or 403 with its code)."""
        self._known_was_refused = True

    def forget(self, asset_id: AssetId) -> None:
        """Forget the denials of an asset that is no longer pending. It may still be a witness."""
        self._denied.pop(asset_id, None)

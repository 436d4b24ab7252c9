"""Classes of assets that take about the same time to process: by step, file type and upload method."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final, NamedTuple

from asset_worker.domain.renditions import RENDITIONS

_KINDS: Final = frozenset({"image", "video", "audio", "text", "application"})
_MIME_TYPE: Final = re.compile(r"([a-z]+)/[a-z0-9.+-]{1,40}", re.ASCII)
_METHODS: Final = frozenset({"direct", "url", "multipart", "connector"})


class AssetClass(NamedTuple):
    """One step of processing, for the assets of one file type and upload method."""

    step: str
    """The part of the processing that takes time (`is_step`)."""
    file_type: str
    method: str

    @property
    def kind(self) -> str:
        """The top-level MIME type, or `other`."""
        return self.file_type.partition("/")[0]

    @property
    def shared(self) -> AssetClass:
        """The class that further classes of this step and kind share when there are too many."""
        return AssetClass(self.step, f"{self.kind}/*", "*")

    def __str__(self) -> str:
        return f"{self.step} {self.file_type} {self.method}"


def is_step(name: str) -> bool:
    """Return whether its duration can be learned: the asset's, from acceptance, or a rendition's, from `ready`."""
    return name == "asset" or name in RENDITIONS


@lru_cache(maxsize=512)
def classify(waiting_on: tuple[str, ...], file_type: str | None, method: str | None) -> tuple[AssetClass, ...]:
    """Return the class of each step waited on; empty if one is not a step (`visibility`, `answer`)."""
    if not all(is_step(name) for name in waiting_on):
        return ()
    plain = (file_type or "").partition(";")[0].strip().lower()
    match = _MIME_TYPE.fullmatch(plain)
    known_type = plain if match and match[1] in _KINDS else "other/*"
    known_method = method if method in _METHODS else "other"
    return tuple(AssetClass(step, known_type, known_method) for step in waiting_on)

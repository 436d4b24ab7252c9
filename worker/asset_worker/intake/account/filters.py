"""Which assets of the account are watched: pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from asset_worker.domain.assets import Asset

TYPES: Final = ("image", "video", "audio", "document")
"""The values of `asset_types` (vendor's reference page "List assets", v1.3)."""


class Filters(msgspec.Struct, frozen=True, omit_defaults=True):
    """What an asset must be to be watched. They are stored in journals, as JSON: don't rename the fields."""

    types: tuple[str, ...] = ()
    """Some of `TYPES`; empty: all. The API compares."""
    filename: str = ""
    """A part of the file's name; empty: any name. The API compares."""
    metadata: Mapping[str, Any] = {}
    """Keys of `user_metadata` and the values that they must have."""

    def admit(self, asset: Asset) -> bool:
        """Return whether an asset that the API lists by `types` and `filename` is watched."""
        found = asset.document.get("user_metadata")
        has = found if isinstance(found, dict) else {}
        return all(name in has and _is_same(has[name], value) for name, value in self.metadata.items())

    def would_list(self, asset: Asset) -> bool:
        """Return whether the API would list an asset by `types` and `filename`, as far as its answer shows."""
        name = asset.document.get("filename")
        has_name = self.filename.casefold() in (name.casefold() if isinstance(name, str) else "")
        return has_name and (not self.types or type_of(asset) in self.types)


def type_of(asset: Asset) -> str:
    """Return which of `TYPES` an asset is, by its MIME type."""
    top_level = (asset.file_type or "").partition("/")[0].lower()
    return top_level if top_level in TYPES else "document"


def _is_same(one: Any, other: Any) -> bool:
    """Return whether two values are equal; a boolean equals no number, although for Python it does."""
    return bool(one == other) and isinstance(one, bool) == isinstance(other, bool)

"""How a simulated asset changes with its age, as pure functions.

The durations are invented, within the ranges that the vendor documents ("a few seconds to a few minutes", renditions
later). They are log-normal, as durations of jobs usually are: most are near the median, and some are far longer.
"""

from __future__ import annotations

import math
from random import Random
from typing import Any, Final, Literal

import msgspec


class Rendition(msgspec.Struct, frozen=True):
    """How one rendition changes. Times are seconds after the asset turned ready."""

    ends_after: float = 0.0
    """`math.inf`: never."""
    ends_in: Literal["ready", "error"] = "ready"
    starts_after: float = 0.0
    """When its status changes from `pending` to `processing`."""

    def status(self, age: float) -> str:
        """Return the status `age` seconds after the asset turned ready."""
        if age >= self.ends_after:
            return self.ends_in
        return "processing" if age >= self.starts_after else "pending"


class Lifecycle(msgspec.Struct, frozen=True):
    """How one asset changes. Times are seconds after its creation."""

    ends_after: float = 0.0
    """`math.inf`: never; the asset stays in `processing`."""
    ends_in: str = "ready"
    """`ready`, `failed`, or a status that the real API may add later."""
    reason: str = "The file could not be processed."
    """The error's message, if the asset ends in `failed`."""
    visible_after: float = 0.0
    """Until then the API answers 404: a new asset may not be readable at once."""
    hls: Rendition | None = None
    """None: not requested."""
    thumbnail: Rendition | None = None


class Created(msgspec.Struct, frozen=True):
    """The properties of an asset that never change."""

    id: str
    created_at: str
    """RFC 3339."""
    filename: str
    file_type: str
    method: str
    size: int
    duration: float | None = None
    """Seconds, for video and audio."""
    user_metadata: dict[str, Any] | None = None


class Kind(msgspec.Struct, frozen=True):
    """How long a kind of file takes to process: medians in seconds. None: the kind has no such rendition."""

    file_type: str
    suffix: str
    ready: float
    hls: float | None = None
    thumbnail: float | None = None
    spread: float = 0.4
    """The standard deviation of the logarithm of each duration."""
    duration: float | None = None
    """The playing time in seconds, for video and audio."""


KINDS: Final[dict[str, Kind]] = {
    "image": Kind("image/jpeg", ".jpg", ready=2, thumbnail=1),
    "document": Kind("application/pdf", ".pdf", ready=5, thumbnail=2),
    "text": Kind("text/plain", ".txt", ready=2),
    "audio": Kind("audio/mpeg", ".mp3", ready=10, hls=10, duration=180),
    "clip": Kind("video/mp4", ".mp4", ready=20, hls=15, thumbnail=3, duration=60),
    "video": Kind("video/mp4", ".mp4", ready=90, hls=90, thumbnail=5, spread=0.6, duration=900),
    "film": Kind("video/quicktime", ".mov", ready=420, hls=900, thumbnail=8, spread=0.5, duration=6000),
}
MIX: Final = {"image": 25, "document": 5, "text": 5, "audio": 10, "clip": 35, "video": 15, "film": 5}
"""How many of a hundred files are of each kind."""

CLIP_BYTES: Final = 50_000_000
"""A video smaller than this is a clip."""
FILM_BYTES: Final = 1_000_000_000
"""A video of this size or more is a film."""


class FailureRates(msgspec.Struct, frozen=True):
    """The probabilities of failures, each from 0 to 1."""

    failed: float = 0.05
    hls_error: float = 0.03
    thumbnail_error: float = 0.02
    late_visible: float = 0.05
    """That the asset is not visible for up to five seconds after its creation."""


def kind_of(file_type: str, size: int) -> Kind:
    """Return the kind of an uploaded file, by its MIME type and its size in bytes."""
    family = file_type.partition("/")[0]
    if family == "video":
        return KINDS["clip" if size < CLIP_BYTES else "video" if size < FILM_BYTES else "film"]
    if family in {"image", "audio"}:
        return KINDS[family]
    return KINDS["text" if family == "text" else "document"]


def draw(
    kind: Kind,
    random: Random,
    *,
    failure_rates: FailureRates | None = None,
    enable_hls: bool = True,
    enable_thumbnail: bool = True,
) -> Lifecycle:
    """Return a random lifecycle for a file of this kind."""
    failure_rates = failure_rates or FailureRates()

    def duration(median: float) -> float:
        return random.lognormvariate(math.log(median), kind.spread)

    def rendition(median: float | None, *, enabled: bool, error: float) -> Rendition | None:
        if median is None or not enabled:
            return None
        ends_after = duration(median)
        return Rendition(ends_after, "error" if random.random() < error else "ready", starts_after=ends_after * 0.1)

    return Lifecycle(
        ends_after=duration(kind.ready),
        ends_in="failed" if random.random() < failure_rates.failed else "ready",
        visible_after=random.uniform(0, 5) if random.random() < failure_rates.late_visible else 0.0,
        hls=rendition(kind.hls, enabled=enable_hls, error=failure_rates.hls_error),
        thumbnail=rendition(kind.thumbnail, enabled=enable_thumbnail, error=failure_rates.thumbnail_error),
    )


def draw_kind(random: Random) -> Kind:
    """Return a random kind, each as often as in `MIX`."""
    return KINDS[random.choices(list(MIX), weights=list(MIX.values()))[0]]


def document(asset: Created, lifecycle: Lifecycle, age: float) -> dict[str, Any] | None:
    """Return the asset as the API shows it `age` seconds after its creation; None while it is not visible."""
    if age < lifecycle.visible_after:
        return None
    ended = age >= lifecycle.ends_after
    fields: dict[str, Any] = {
        "_id": asset.id,
        "created_at": asset.created_at,
        "file_type": asset.file_type,
        "filename": asset.filename,
        "method": asset.method,
        "status": lifecycle.ends_in if ended else "processing",
    }
    ready = ended and lifecycle.ends_in == "ready"
    if ended:
        fields["size"] = asset.size
        fields["technical_metadata"] = {"size": asset.size} if ready else {}
        if asset.duration is not None and ready:
            fields["duration"] = asset.duration
    if ended and lifecycle.ends_in == "failed":
        fields["error"] = {"message": lifecycle.reason}
    for name, rendition, field, file in (
        ("hls", lifecycle.hls, "manifest_url", "index.m3u8"),
        ("thumbnail", lifecycle.thumbnail, "representative_url", "cover.jpg"),
    ):
        if rendition is None:
            continue
        status = rendition.status(age - lifecycle.ends_after) if ready else "pending"
        fields[name] = {"status": status}
        if status == "ready":
            fields[name][field] = f"https://media.example/{asset.id}/{name}/{file}"
    if asset.user_metadata:
        fields["user_metadata"] = asset.user_metadata
    return fields


def outcome(lifecycle: Lifecycle) -> str | None:
    """Return the outcome of the wait for such an asset if there were no deadlines; None: it would never end."""
    if math.isinf(lifecycle.ends_after) or lifecycle.ends_in not in {"ready", "failed"}:
        return None
    if lifecycle.ends_in == "failed":
        return "failed"
    renditions = [rendition for rendition in (lifecycle.hls, lifecycle.thumbnail) if rendition is not None]
    if any(math.isinf(rendition.ends_after) for rendition in renditions):
        return None
    return "degraded" if any(rendition.ends_in == "error" for rendition in renditions) else "ready"

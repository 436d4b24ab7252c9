"""Which spans are sent, by OTEL_TRACES_SAMPLER: pure.

The names and rules are those of the OpenTelemetry specification (Trace SDK, "Sampling"; environment variables, "General
SDK configuration"). The SDK has its own samplers, but the context of an asset is needed before the SDK is loaded.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

_BITS: Final = 64
_RATIO: Final = "traceidratio"
_PARENT_BASED: Final = "parentbased_"
_RATIOS: Final = {"always_on": 1.0, "always_off": 0.0, _RATIO: None}


class Sampler(msgspec.Struct, frozen=True):
    """Decides whether a span is sent."""

    ratio: float
    """The share of traces that are sent, 0 to 1."""
    follows_parent: bool = True
    """Whether a span with a parent is sent exactly if its parent is."""

    def decides(self, trace_id: int, *, parent_is_sampled: bool | None) -> bool:
        """Return whether a span of this trace is sent. None: it has no parent."""
        if self.follows_parent and parent_is_sampled is not None:
            return parent_is_sampled
        return trace_id % (1 << _BITS) < round(self.ratio * (1 << _BITS))


def sampler_of(environment: Mapping[str, str]) -> Sampler:
    """Return the sampler that the environment names.

    An unknown name stands for the default, `parentbased_always_on`, and an invalid ratio for 1, as in the SDK.
    """
    name = environment.get("OTEL_TRACES_SAMPLER", "").strip().lower()
    kind = name.removeprefix(_PARENT_BASED)
    if kind not in _RATIOS:
        return Sampler(1.0)
    fixed = _RATIOS[kind]
    ratio = _ratio_in(environment.get("OTEL_TRACES_SAMPLER_ARG", "")) if fixed is None else fixed
    return Sampler(ratio, follows_parent=name.startswith(_PARENT_BASED))


def _ratio_in(text: str) -> float:
    try:
        ratio = float(text)
    except ValueError:
        return 1.0
    return ratio if 0.0 <= ratio <= 1.0 else 1.0

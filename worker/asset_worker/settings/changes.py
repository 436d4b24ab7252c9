"""Which settings differ between two trees, and which of them a running service can take over."""

from __future__ import annotations

from asset_worker.settings.tree import Settings, sections

RELOADED_SECTIONS = frozenset({"log"})
"""The sections that a service takes over while it runs. The others need a restart."""


def changed_keys(before: Settings, after: Settings) -> list[str]:
    """Return the keys of the settings that differ, as in `poll.max`. Values are not shown: one may be the API key."""
    return [
        f"{section}.{name}"
        for section, kind in sections()
        for name in kind.model_fields
        if getattr(getattr(before, section), name) != getattr(getattr(after, section), name)
    ]


def with_reloaded(before: Settings, after: Settings) -> Settings:
    """Return the settings in force after a reload: those of `after` that need no restart, else those of `before`."""
    return before.model_copy(update={section: getattr(after, section) for section in RELOADED_SECTIONS})

"""What an interrupted run says."""

from __future__ import annotations

from pathlib import Path

import pytest

from asset_worker.cli.farewell import kept, not_kept


@pytest.mark.parametrize(
    ("pending", "sentence"),
    [
        (0, "nothing is pending"),
        (1, "1 pending asset is kept in /var/lib/asset-worker; start again to go on"),
        (3, "3 pending assets are kept in /var/lib/asset-worker; start again to go on"),
    ],
)
def test_what_is_kept_and_where(pending, sentence):
    assert kept(pending, Path("/var/lib/asset-worker")) == sentence


@pytest.mark.parametrize(
    ("pending", "ids", "sentence"),
    [
        (0, [], "nothing is kept, and nothing was pending"),
        (2, ["a1", "b2"], "nothing is kept; wait again with: asset-worker wait a1 b2"),
        (99, ["a1", "b2"], "nothing is kept; 99 assets were still pending: wait for them again"),
    ],
)
def test_how_to_wait_again(pending, ids, sentence):
    assert not_kept(pending, ids) == sentence

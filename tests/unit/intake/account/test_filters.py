"""Which assets the API would list, and which are admitted of those."""

from __future__ import annotations

import pytest

from asset_worker.domain.assets import asset_from
from asset_worker.intake.account.filters import Filters, type_of


def asset(**document):
    return asset_from({"_id": "a", "status": "ready"} | document)


@pytest.mark.parametrize(
    ("mime", "kind"),
    [
        ("video/mp4", "video"),
        ("IMAGE/PNG", "image"),
        ("audio", "audio"),
        ("application/pdf", "document"),
        ("text/plain", "document"),
        ("", "document"),
        (None, "document"),
    ],
)
def test_the_type_of_an_asset_is_the_first_half_of_its_mime_type(mime, kind):
    """What is no medium is a document."""
    assert type_of(asset(file_type=mime)) == kind


@pytest.mark.parametrize(
    ("filters", "is_listed"),
    [
        (Filters(), True),
        (Filters(types=("video",)), True),
        (Filters(types=("audio", "video")), True),
        (Filters(types=("audio",)), False),
        (Filters(filename="hol"), True),
        (Filters(filename="HOLIDAY"), True),
        (Filters(filename="work"), False),
        (Filters(types=("video",), filename="work"), False),
        (Filters(types=("audio",), filename="hol"), False),
        (Filters(types=("video",), filename="hol"), True),
        (Filters(metadata={"a": 1}), True),
    ],
)
def test_the_api_lists_an_asset_of_the_types_whose_name_has_the_text(filters, is_listed):
    assert filters.would_list(asset(file_type="video/mp4", filename="Holiday.mp4")) is is_listed


@pytest.mark.parametrize("name", [None, 7])
def test_an_asset_without_a_name_is_listed_only_if_any_name_will_do(name):
    unnamed = asset(filename=name)
    assert (Filters().would_list(unnamed), Filters(filename="a").would_list(unnamed)) == (True, False)

"""Which assets are thought to take about the same time."""

from __future__ import annotations

import pytest

from asset_worker.schedule.classes import AssetClass, classify


@pytest.mark.parametrize(
    ("reported", "file_type", "kind"),
    [
        ("image/png", "image/png", "image"),
        ("video/mp4", "video/mp4", "video"),
        ("audio/mpeg", "audio/mpeg", "audio"),
        ("text/plain", "text/plain", "text"),
        ("application/pdf", "application/pdf", "application"),
        (" Video/MP4; codecs=avc1;a=b", "video/mp4", "video"),
        ("video/x.y+z-1", "video/x.y+z-1", "video"),
        ("video/" + 40 * "a", "video/" + 40 * "a", "video"),
        ("video/" + 41 * "a", "other/*", "other"),
        ("video/", "other/*", "other"),
        ("model/gltf", "other/*", "other"),
        ("video", "other/*", "other"),
        ("video/mp4/x", "other/*", "other"),
        ("", "other/*", "other"),
        (None, "other/*", "other"),
    ],
)
def test_the_file_type_is_the_mime_type_without_parameters_or_other(
    reported: str | None, file_type: str, kind: str
) -> None:
    """A few kinds of types are known; any text may come from an API, and none may grow memory without bounds."""
    [found] = classify(("asset",), reported, "direct")
    assert found == AssetClass("asset", file_type, "direct")
    assert found.kind == kind
    assert found.shared == AssetClass("asset", f"{kind}/*", "*")


@pytest.mark.parametrize(
    ("reported", "method"),
    [
        ("direct", "direct"),
        ("url", "url"),
        ("multipart", "multipart"),
        ("connector", "connector"),
        ("pigeon", "other"),
        (None, "other"),
    ],
)
def test_the_upload_method_is_a_documented_one_or_other(reported: str | None, method: str) -> None:
    assert classify(("asset",), "video/mp4", reported) == (AssetClass("asset", "video/mp4", method),)


@pytest.mark.parametrize(
    ("waiting_on", "steps"),
    [
        ((), []),
        (("asset",), ["asset"]),
        (("hls", "thumbnail"), ["hls", "thumbnail"]),
        (("visibility",), []),
        (("answer",), []),
        (("hls", "visibility"), []),
        (("visibility", "hls"), []),
    ],
)
def test_each_step_has_a_class_and_a_wait_on_anything_else_has_none(
    waiting_on: tuple[str, ...], steps: list[str]
) -> None:
    """How long a wait takes that is only partly for a step cannot be learned either."""
    assert [each.step for each in classify(waiting_on, "video/mp4", "url")] == steps


def test_people_read_a_class_as_its_three_words() -> None:
    assert str(AssetClass("asset", "video/mp4", "direct")) == "asset video/mp4 direct"

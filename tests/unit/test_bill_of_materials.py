"""What the bill of materials of a release says beyond what is installed."""

from __future__ import annotations

from typing import Any

import pytest

from tests.release import bill

BILL: dict[str, Any] = {
    "metadata": {"component": {"bom-ref": "root", "name": "asset-worker"}, "properties": []},
    "components": [
        {"bom-ref": "typing_extensions==4", "name": "typing_extensions", "purl": "pkg:pypi/typing-extensions@4"},
        {"bom-ref": "aiohttp==3", "name": "aiohttp", "purl": "pkg:pypi/aiohttp@3", "licenses": [{"id": "MIT"}]},
        {"bom-ref": "uvloop==1", "name": "uvloop", "purl": "pkg:pypi/uvloop@1", "externalReferences": ["site"]},
    ],
    "dependencies": [
        {"ref": "root", "dependsOn": ["aiohttp==3", "uvloop==1"]},
        {"ref": "aiohttp==3", "dependsOn": ["typing_extensions==4"]},
        {"ref": "typing_extensions==4"},
        {"ref": "uvloop==1"},
    ],
}
LOCK = {
    "components": [
        {"purl": each["purl"], "externalReferences": [{"hashes": [each["name"]]}]} for each in BILL["components"]
    ]
}


def completed(of_lock=LOCK):
    return bill.completed(
        BILL, of_lock, version="1.2.0", wheel="abc", required=["aiohttp"], properties={"extras": "fast"}
    )


def test_the_bill_of_materials_names_the_wheel_and_how_it_was_made():
    metadata = completed()["metadata"]
    assert metadata["component"] == {
        "bom-ref": "root",
        "name": "asset-worker",
        "version": "1.2.0",
        "purl": "pkg:pypi/asset-worker@1.2.0",
        "hashes": [{"alg": "SHA-256", "content": "abc"}],
    }
    assert metadata["properties"] == [{"name": "asset-worker:extras", "value": "fast"}]


def test_the_bill_of_materials_has_the_hashes_of_the_lock_file():
    references = {each["name"]: each["externalReferences"] for each in completed()["components"]}
    assert references["aiohttp"] == [{"hashes": ["aiohttp"]}]
    assert references["uvloop"] == ["site", {"hashes": ["uvloop"]}]


def test_a_package_that_is_not_in_the_lock_file_does_not_get_into_the_bill_of_materials():
    with pytest.raises(KeyError, match="uvloop"):
        completed({"components": LOCK["components"][:2]})


def test_the_bill_of_materials_says_what_only_extras_bring():
    scopes = {each["name"]: each["scope"] for each in completed()["components"]}
    assert scopes == {"typing_extensions": "required", "aiohttp": "required", "uvloop": "optional"}


def test_packages_without_a_declared_licence_are_named():
    assert bill.without_licence(BILL) == ["typing_extensions", "uvloop"]

"""What a bill of materials of the installed packages lacks: hashes, what only extras bring, and the package itself.

It is in CycloneDX 1.6 (cyclonedx.org/docs/1.6/json), as `cyclonedx-py environment` writes it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any


def completed(
    bill: dict[str, Any],
    of_lock: dict[str, Any],
    *,
    version: str,
    wheel: str,
    required: Iterable[str],
    properties: dict[str, str],
) -> dict[str, Any]:
    """Return the bill with all that is known about a release.

    Args:
        bill: of the environment: components with licences, and who depends on whom.
        of_lock: of the lock file, as `cyclonedx-py requirements` writes it: the hashes that an installation admits.
        version: the package's.
        wheel: the SHA-256 of its wheel.
        required: the names of the packages that it needs without any extra.
        properties: more about how the bill was made, by name.

    Raises:
        KeyError: a component is not in the lock file.
    """
    package = bill["metadata"]["component"]
    admitted = {each["purl"]: each["externalReferences"] for each in of_lock["components"]}
    needed = _reachable(bill, package["bom-ref"], {name.lower() for name in required})
    return {
        **bill,
        "metadata": {
            **bill["metadata"],
            "component": {
                **package,
                "version": version,
                "purl": f"pkg:pypi/{package['name']}@{version}",
                "hashes": [{"alg": "SHA-256", "content": wheel}],
            },
            "properties": [
                *bill["metadata"].get("properties", []),
                *({"name": f"{package['name']}:{name}", "value": value} for name, value in properties.items()),
            ],
        },
        "components": [
            {
                **each,
                "scope": "required" if each["bom-ref"] in needed else "optional",
                "externalReferences": [*each.get("externalReferences", []), *admitted[each["purl"]]],
            }
            for each in bill["components"]
        ],
    }


def without_licence(bill: dict[str, Any]) -> list[str]:
    """Return the names of the components whose packages declare no licence in a field that tools read."""
    return [each["name"] for each in bill["components"] if not each.get("licenses")]


def _reachable(bill: dict[str, Any], root: str, required: set[str]) -> set[str]:
    """Return the references of the required components, and of all that these depend on."""
    names = {each["bom-ref"]: each["name"].lower().replace("_", "-") for each in bill["components"]}
    depends_on = {each["ref"]: each.get("dependsOn", []) for each in bill["dependencies"]}
    waiting = [ref for ref in depends_on[root] if names[ref] in required]
    found: set[str] = set()
    while waiting:
        ref = waiting.pop()
        if ref not in found:
            found.add(ref)
            waiting += depends_on[ref]
    return found

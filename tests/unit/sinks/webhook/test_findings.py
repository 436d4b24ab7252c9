"""What is found about a webhook before anything is sent."""

from __future__ import annotations

from base64 import b64encode
from pathlib import Path

import pytest

from asset_worker.runtime.redaction import Secrets
from asset_worker.sinks.registry import checked_target, find_problem, find_warnings
from tests.doubles.webhooks import ONE, target_of, webhook


def test_one_short_secret_among_long_ones_is_found(secret_file: Path):
    secret_file.write_text(f"{ONE}\nwhsec_{b64encode(b'x' * 23).decode()}\n")
    [found] = find_warnings(target_of("http://127.0.0.1:1/", secret_file=secret_file))
    assert found.startswith(f"{secret_file}: a secret has fewer than 24 bytes")
    secret_file.write_text(f"{ONE}\n")
    assert not list(find_warnings(target_of("http://127.0.0.1:1/", secret_file=secret_file)))


def test_a_url_alone_is_kept_without_blanks_around_it():
    assert checked_target(" https://app.example/hooks ") == "https://app.example/hooks"


@pytest.mark.parametrize(("content", "is_final"), [(None, False), ("a\0b", True)])
def test_a_file_of_a_header_that_can_not_be_used_is_a_problem(tmp_path: Path, content: str | None, is_final: bool):
    path = tmp_path / "token"
    if content is not None:
        path.write_text(content)
    target = target_of("http://127.0.0.1:1/", name="hooks", headers={"X-Token": {"file": path}})
    problem = find_problem(target)
    assert problem is not None
    assert (problem.text.startswith("hooks: "), str(path) in problem.text) == (True, True)
    assert problem.is_final == is_final


def test_a_secret_is_redacted_also_without_its_prefix(secret_file: Path):
    """As a receiver's library may show it."""
    secrets = Secrets()
    webhook("http://127.0.0.1:1/", secret_file=secret_file, secrets=secrets)
    assert secrets.redact_text(f"bad key {ONE.removeprefix('whsec_')}") == "bad key ********"
    assert secrets.redact_text(f"bad key {ONE}") == "bad key ********"

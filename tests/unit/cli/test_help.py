"""The help of every command: it fits a terminal of 80 columns, and shows how the command is used."""

from __future__ import annotations

from collections.abc import Iterator

import click
import pytest
from click.testing import CliRunner

from asset_worker.cli import asset_worker


def commands(group: click.Group, *words: str) -> Iterator[tuple[str, ...]]:
    """Yield the words of every command below a group, and of the groups."""
    yield words
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from commands(command, *words, name)
        else:
            yield (*words, name)


COMMANDS = list(commands(asset_worker))


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_help_fits_80_columns_and_shows_two_examples(words: tuple[str, ...]):
    """The runner is a terminal of 80 columns."""
    result = CliRunner().invoke(asset_worker, [*words, "--help"], prog_name="asset-worker")
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert [line for line in lines if len(line) > 80] == []
    call = " ".join(["asset-worker", *words])
    assert len([line for line in lines if call in line and not line.startswith("Usage:")]) >= 2, result.stdout


def test_help_is_no_wider_on_a_wide_terminal():
    assert asset_worker.context_settings["max_content_width"] == 80


def test_every_command_is_among_those_of_which_the_help_is_checked():
    assert {("run",), ("wait",), ("doctor",), ("dead-letters", "retry"), ("config",)} <= set(COMMANDS)


def completed(words: str, count: int, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What Tab offers in a shell, after `count` words."""
    monkeypatch.setenv("COMP_WORDS", words)
    monkeypatch.setenv("COMP_CWORD", str(count))
    result = CliRunner().invoke(
        asset_worker, [], prog_name="asset-worker", env={"_ASSET_WORKER_COMPLETE": "bash_complete"}
    )
    return [line.removeprefix("plain,") for line in result.stdout.splitlines()]


@pytest.mark.parametrize(
    ("words", "count", "offered"),
    [
        ("asset-worker d", 1, ["dead-letters", "doctor", "demo"]),
        ("asset-worker --v", 1, ["--version"]),
        ("asset-worker dead-letters r", 2, ["retry"]),
        ("asset-worker dead-letters retry --si", 3, ["--sink"]),
        ("asset-worker wait --for th", 3, ["thumbnail"]),
        ("asset-worker run --queue-file /var/s", 3, ["file,/var/s"]),
    ],
)
def test_a_shell_completes_commands_options_and_values(
    words: str, count: int, offered: list[str], monkeypatch: pytest.MonkeyPatch
):
    assert completed(words, count, monkeypatch) == offered


def test_commands_are_completed_without_loading_one(monkeypatch: pytest.MonkeyPatch):
    def load(name: str) -> None:
        raise AssertionError(f"{name} is loaded")

    monkeypatch.setattr("importlib.import_module", load)
    assert set(completed("asset-worker ", 1, monkeypatch)) >= {"run", "wait", "doctor", "config"}

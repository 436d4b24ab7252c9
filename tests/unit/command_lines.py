"""Command lines of `asset-worker`, as documents and deployment files show them, checked against the commands."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence

import click

from asset_worker.cli import asset_worker

_NAMES = (["asset-worker"], ["python", "-m", "asset_worker"])
_ENDS_COMMAND = frozenset({"|", "||", "&&", "&", ";", ">", ">>", "<", "2>", "2>&1"})


def check(arguments: Sequence[str]) -> None:
    """Parse what follows `asset-worker` on a command line; nothing is run.

    Raises:
        click.UsageError: there is no such command or option, or a value is not one that it takes.
    """
    if not arguments:
        return
    try:
        with asset_worker.make_context("asset-worker", list(arguments)) as group:
            name, command, rest = asset_worker.resolve_command(group, [*group._protected_args, *group.args])
            assert command is not None
            command.make_context(name, rest, parent=group).close()
    except click.exceptions.Exit:
        pass  # --help and --version


def command_lines(shell: str) -> Iterator[list[str]]:
    """The arguments of each `asset-worker` in a line of shell, up to where its command ends.

    Raises:
        ValueError: the line is not shell, by its quotes.
    """
    lexer = shlex.shlex(shell, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    words = list(lexer)
    for place in range(len(words)):
        for name in _NAMES:
            is_first = place == 0 or words[place - 1] in _ENDS_COMMAND or _is_assignment(words[place - 1])
            if is_first and words[place : place + len(name)] == name:
                rest = words[place + len(name) :]
                end = next((index for index, word in enumerate(rest) if word in _ENDS_COMMAND), len(rest))
                arguments = rest[:end]
                # `2>file`: the lexer splits the descriptor from the redirection.
                yield (
                    arguments[:-1]
                    if rest[end:] and rest[end].startswith(">") and arguments[-1:] == ["2"]
                    else arguments
                )


def _is_assignment(word: str) -> bool:
    return "=" in word and word.split("=", 1)[0].isidentifier()

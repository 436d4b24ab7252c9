"""The command `asset-worker dead-letters`: events that a webhook refused for good, kept for the operator."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import click
import msgspec

from asset_worker.cli.dead_letter_stores import Store, store_of
from asset_worker.cli.usage import PathOption, fail
from asset_worker.domain.run_plan import Exit
from asset_worker.queue.dead_letters import Answer, DeadLetter, Found, Request
from asset_worker.runtime.text import clip, visible, visible_json_bytes

DEFAULT_LIMIT = 100
"""Dead letters that `list` shows people."""

_Command = TypeVar("_Command", bound=Callable[..., Any])


def _checked(ctx: click.Context, param: click.Parameter, value: Any) -> Any:
    """Return IDs or names as they are. Whatever is not UTF-8 can't be in the journal."""
    for text in (value,) if isinstance(value, str) else value or ():
        try:
            text.encode()
        except UnicodeEncodeError:
            raise click.BadParameter("it is not UTF-8 text", ctx, param) from None
    return value


def _common_options(command: _Command) -> _Command:
    for option in (
        click.option("--json", "as_json", is_flag=True, help="JSON, for scripts."),
        click.option("--config", type=PathOption(dir_okay=False), help="Settings file (TOML)."),
        click.option("--state-dir", type=PathOption(), help="The state directory of a worker without a fleet."),
    ):
        command = option(command)
    return command


def _selection(command: _Command) -> _Command:
    for option in (
        click.option("--all", "every", is_flag=True, help="Every dead letter."),
        click.option("--sink", callback=_checked, help="Only those of this sink, by its name."),
        click.argument("ids", nargs=-1, callback=_checked, metavar="[ID]..."),
    ):
        command = option(command)
    return command


@click.group(name="dead-letters")
def dead_letters() -> None:
    """Show, retry or drop events that a webhook refused for good.

    An event is a dead letter when the last attempt of its retry plan has failed. It is kept for
    events.dead_letter_retention. The worker may run or not.

    With queue.engine = postgres they are those of all workers of the fleet, unless --state-dir is given.

    \b
    Examples:
      asset-worker dead-letters list
      asset-worker dead-letters show 6298d673f1090f1100476d4c.1
      asset-worker dead-letters retry --all
    """


@dead_letters.command(name="list")
@click.option("--sink", callback=_checked, help="Only those of this sink, by its name.")
@click.option(
    "--limit", type=click.IntRange(1), help=f"The latest so many.  [default: {DEFAULT_LIMIT}; with --json, all]"
)
@_common_options
def list_(sink: str | None, limit: int | None, state_dir: Path | None, config: Path | None, as_json: bool) -> None:
    """Show the dead letters, the latest first: one line each.

    \b
    Examples:
      asset-worker dead-letters list
      asset-worker dead-letters list --sink hooks --json | jq .total
    """
    shown = limit or (None if as_json else DEFAULT_LIMIT)
    store = store_of(state_dir, config)
    store.read(_print_json if as_json else partial(_print_table, where=store.where), sink=sink, limit=shown)


@dead_letters.command()
@click.argument("event_id", callback=_checked, metavar="ID")
@click.option("--sink", callback=_checked, help="Only that of this sink, by its name.")
@_common_options
def show(event_id: str, sink: str | None, state_dir: Path | None, config: Path | None, as_json: bool) -> None:
    """Show one dead letter, by the event's ID, with the event.

    Several sinks may have refused it.

    \b
    Examples:
      asset-worker dead-letters show 6298d673f1090f1100476d4c.1
      asset-worker dead-letters show 6298d673f1090f1100476d4c.1 --sink hooks
    """
    store = store_of(state_dir, config)
    letters = store.find(event_id, sink=sink)
    if not letters:
        of = "" if sink is None else f" of the sink {sink}"
        fail(
            f"no dead letter{of} in {store.where} has the ID {event_id}: see `asset-worker dead-letters list`",
            code=Exit.NOT_READY,
        )
    if as_json:
        _print_json(Found(len(letters), letters))
    else:
        click.echo("\n\n".join("\n".join(_lines(letter)) for letter in letters))


@dead_letters.command()
@_selection
@_common_options
def retry(
    ids: tuple[str, ...], sink: str | None, every: bool, state_dir: Path | None, config: Path | None, as_json: bool
) -> None:
    """Send dead letters again, as if they had never been tried.

    With --sink, a sink that is paused is resumed as well, even if it has no dead letters.

    \b
    Examples:
      asset-worker dead-letters retry --all
      asset-worker dead-letters retry --sink hooks
    """
    request = _request("retry", ids, sink, every)
    store = store_of(state_dir, config)
    answer = _answer(request, store, as_json=as_json)
    for name, count in answer.counts.items():
        click.echo(f"{count} to be sent again to {visible(name)}")
    for name, count in answer.left.items():
        click.echo(f"{count} left as they are: {visible(name)} is not a webhook in events.sinks", err=True)
    for name, count in answer.over.items():
        click.echo(f"{count} of {visible(name)} left as they are: they report steps of assets that are done", err=True)
    if answer.left and not answer.counts:
        sys.exit(Exit.NOT_READY)
    if not answer.counts and not answer.over:
        click.echo(_none_such(store) + ("" if sink is None else "; the sink is resumed if it was paused"))


@dead_letters.command()
@_selection
@_common_options
def drop(
    ids: tuple[str, ...], sink: str | None, every: bool, state_dir: Path | None, config: Path | None, as_json: bool
) -> None:
    """Delete dead letters: they will never be sent.

    \b
    Examples:
      asset-worker dead-letters drop 6298d673f1090f1100476d4c.1
      asset-worker dead-letters drop --sink hooks
    """
    request = _request("drop", ids, sink, every)
    store = store_of(state_dir, config)
    answer = _answer(request, store, as_json=as_json)
    for name, count in answer.counts.items():
        click.echo(f"{count} of {visible(name)} dropped")
    if not answer.counts:
        click.echo(_none_such(store))


def _request(action: str, ids: tuple[str, ...], sink: str | None, every: bool) -> Request:
    if every and (ids or sink is not None):
        raise click.UsageError("--all goes with neither an ID nor --sink")
    if not every and not ids and sink is None:
        raise click.UsageError(f"name IDs, --sink or --all: what to {action}?")
    return msgspec.convert({"action": action, "ids": ids or None, "sink": sink, "all": every}, Request)


def _answer(request: Request, store: Store, *, as_json: bool) -> Answer:
    """Return the answer to a request that was carried out. Any other ends the process. With `as_json`, print it."""
    answer = store.carry_out(request)
    if answer.error is not None:
        fail(answer.error, code=Exit.NOT_READY)
    if as_json:
        shown = {"counts": answer.counts, "left": answer.left}
        click.echo(msgspec.json.encode(shown | ({"over": answer.over} if answer.over else {})))
        sys.exit(Exit.DONE)
    return answer


def _none_such(store: Store) -> str:
    """Return that nothing was found, and where: it may be the place of another worker."""
    return f"there are no such dead letters in {visible(store.where)}"


def _print_json(found: Found) -> None:
    """Write one JSON object a line, as they are read."""
    for letter in found.letters:
        click.echo(visible_json_bytes(msgspec.json.encode(letter)))


def _print_table(found: Found, where: str) -> None:
    letters = list(found.letters)
    if not letters:
        click.echo(f"there are no dead letters in {visible(where)}", err=True)
        return
    rows = [("ID", "SINK", "ATTEMPTS", "FIRST", "LAST", "REASON"), *map(_row, letters)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    columns = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    for row in rows:
        line = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        click.echo(line if columns is None else clip(line, columns))
    if found.total > len(letters):
        click.echo(f"the latest {len(letters)} of {found.total}: --limit shows more", err=True)


def _row(letter: DeadLetter) -> tuple[str, ...]:
    return (
        visible(letter.id),
        visible(letter.sink),
        _or_dash(letter.attempts),
        _or_dash(letter.first_at),
        _or_dash(letter.last_at),
        visible(letter.reason),
    )


def _lines(letter: DeadLetter) -> list[str]:
    event = letter.event if isinstance(letter.event, str) else bytes(letter.event).decode()
    values = {
        "id": letter.id,
        "sink": letter.sink,
        "asset": _or_dash(letter.asset_id),
        "attempts": _or_dash(letter.attempts),
        "first": _or_dash(letter.first_at),
        "last": _or_dash(letter.last_at),
        "reason": letter.reason,
        "event": event,
    }
    return [f"{name:<9} {visible(value)}" for name, value in values.items()]


def _or_dash(value: object) -> str:
    return "-" if value is None else str(value)

"""The checks of `doctor` that make no request: key, inputs, state directory, disks, sinks."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

from msgspec.structs import replace

from asset_worker.api.key import ApiKey, BadKeyError, KeyNotThereError, NoKeyError
from asset_worker.cli.checks import Problem, queue_file_problem, state_problem, token_file_problem
from asset_worker.cli.diagnosis import Check, State, advised, judge_space, judge_worker
from asset_worker.cli.usage import misnamed_key_advice
from asset_worker.domain.run_plan import Exit
from asset_worker.queue.local.worker_status import read_worker
from asset_worker.runtime.redaction import Secrets
from asset_worker.runtime.secret_files import exposure
from asset_worker.settings.tree import Api, NoStateDirectoryError, Settings
from asset_worker.settings.tree import State as StateSettings
from asset_worker.sinks.registry import Target, find_problem, find_warnings

LocalCheck = Callable[[], list[Check]]
"""A check that may block, for as long as a file system hangs."""


def local_checks(settings: Settings) -> Iterator[tuple[str, LocalCheck]]:
    """Yield the name of each check, and the call that makes it."""
    yield "queue_file", lambda: [_queue_file(settings.queue.file)]
    yield "token_file", lambda: _token_file(settings.admin.token_file)
    yield "state_directory", lambda: [_state_directory(settings)]
    yield "disk", lambda: _disks(settings)
    yield "worker", lambda: _worker(settings.state)


class KeyReader:
    """Reads the key, without trying it. Call it once."""

    def __init__(self, api: Api, secrets: Secrets) -> None:
        """`secrets` learns the key, and is then able to redact it."""
        self._api = api
        self._secrets = secrets
        self.key: ApiKey | None = None
        """The key; None: there is none that can be used."""

    def __call__(self) -> list[Check]:
        """Return what is wrong with the key; empty: nothing."""
        try:
            if self._api.key_value is not None:
                self._secrets.add(self._api.key_value.strip())  # also if the file takes precedence
            self.key = ApiKey(value=self._api.key_value, file=self._api.key_file, on_read=self._secrets.add)
        except NoKeyError as error:
            return [advised("key", f"{error}{misnamed_key_advice(os.environ)}", code=Exit.USAGE)]
        except KeyNotThereError as error:
            return [advised("key", str(error))]
        except BadKeyError as error:
            return [advised("key", str(error), code=Exit.USAGE)]
        return exposed("key", self._api.key_file)


def check_sink(target: Target) -> list[Check]:
    """Return what can be seen of a target without a connection."""
    name = target if isinstance(target, str) else target.name
    if target == "-":
        return [Check("sink", State.OK, "standard output of the worker", subject="-")]
    if (problem := find_problem(target)) is not None:
        return [of_problem(Problem(problem.text, problem.is_final), "sink", subject=name)]
    warnings = [Check("sink", State.WARNING, text, subject=name) for text in find_warnings(target)]
    text = "it can be written" if isinstance(target, str) else "its secrets and headers can be read"
    return warnings or [Check("sink", State.OK, text, subject=name)]


def _queue_file(path: Path | None) -> Check:
    if path is None:
        return Check("queue_file", State.SKIPPED, "queue.file is not set")
    if (problem := queue_file_problem(path)) is not None:
        return of_problem(problem, "queue_file", subject=str(path))
    text = "it can be read" if path.exists() else "it is not there yet: it is followed from its creation"
    return Check("queue_file", State.OK, text, subject=str(path))


def _token_file(path: Path | None) -> list[Check]:
    if path is None:
        return []
    if (problem := token_file_problem(path)) is not None:
        return [of_problem(problem, "token_file", subject=str(path))]
    return exposed("token_file", path) or [Check("token_file", State.OK, "it can be read", subject=str(path))]


def _state_directory(settings: Settings) -> Check:
    owner = _owner_seen_by_root(settings.state)
    if (problem := state_problem(settings.state, user=owner)) is not None:
        check = of_problem(problem, "state_directory")
        # Somebody else looks: the worker that uses it is that of its owner.
        return replace(check, state=State.WARNING) if _worker_runs(settings.state) else check
    path = settings.state.directory
    text = "it can be used" if path.exists() else "it will be created"
    whose = "" if owner is None else f" by user {owner}, whose worker keeps its state there; leave the owner as it is"
    return Check("state_directory", State.OK, f"{text}{whose}", subject=str(path))


def _owner_seen_by_root(state: StateSettings) -> int | None:
    """Return the number of the user whose worker has used the state directory, if root looks at it.

    A unit with `DynamicUser=yes` has such a directory. None: it is root's own, or no worker has used it yet.
    """
    if os.geteuid():
        return None
    try:
        return state.directory.stat().st_uid or None if read_worker(state.directory) is not None else None
    except (NoStateDirectoryError, OSError):
        return None


def _disks(settings: Settings) -> list[Check]:
    """Return the room on each disk that the worker writes to."""
    try:
        paths = [settings.state.directory]
    except NoStateDirectoryError:
        paths = []
    paths += [Path(target) for target in settings.events.local_targets if target != "-"]
    checks: dict[int, Check] = {}
    for path in paths:
        try:
            place = next(each for each in (path.absolute(), *path.absolute().parents) if each.exists())
            disk, room = place.stat().st_dev, os.statvfs(place)
        except OSError as error:
            text, fix = f"it can't be examined ({error.strerror})", "check the path and its rights"
            checks[-len(checks)] = Check("disk", State.PROBLEM, text, fix, str(path))
            continue
        has_files_left = room.f_files == 0 or room.f_favail > 0
        free = room.f_bavail * room.f_frsize
        checks.setdefault(disk, judge_space(str(path), free=free, has_files_left=has_files_left))
    return list(checks.values())


def _worker_runs(state: StateSettings) -> bool:
    try:
        report = read_worker(state.directory)
    except (NoStateDirectoryError, OSError):
        return False
    return report is not None and report.state == "running"


def _worker(state: StateSettings) -> list[Check]:
    try:
        return judge_worker(read_worker(state.directory))
    except NoStateDirectoryError:
        return [Check("worker", State.SKIPPED, "there is no state directory")]
    except (FileNotFoundError, NotADirectoryError):
        return judge_worker(None)
    except OSError as error:
        text = f"whether it runs can't be seen ({error.strerror})"
        return [Check("worker", State.PROBLEM, text, "check the rights on the state directory")]


def exposed(name: str, file: Path | None) -> list[Check]:
    """Return a warning if others may read a file of secrets; empty: nobody may, or there is none."""
    try:
        text = None if file is None else exposure(file)
    except OSError:
        return []  # whoever reads it says what is wrong
    if text is None:
        return []
    what, _, fix = text.partition(": ")
    return [Check(name, State.WARNING, f"{file} is exposed: {what}", fix)]


def of_problem(problem: Problem, name: str, *, subject: str | None = None) -> Check:
    """Return a problem as a check."""
    return advised(name, problem.text, subject=subject, code=Exit.USAGE if problem.is_final else Exit.NOT_READY)

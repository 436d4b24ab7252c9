"""Tries changes: each in a fork of a pytest session, with the tests that reach the change.

A change inside a function is tried in a fork of the session that has collected all tests: the function gets other code.
One that takes effect at import (a constant, a default) needs a process that has loaded nothing of the package yet.
"""

from __future__ import annotations

import ast
import copy
import os
import pickle
import re
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Generator, Sequence
from importlib import import_module
from importlib.machinery import ModuleSpec, SourceFileLoader
from importlib.util import spec_from_file_location
from itertools import accumulate, takewhile
from multiprocessing.connection import Connection, wait
from pathlib import Path
from types import CodeType
from typing import Any, NamedTuple

import pytest

from tests.mutation.changes import Change
from tests.mutation.reach import NotExchangeableError, exchange, key_of, record, uses_of_names
from tests.mutation.slots import TOO_LONG, Job, close_slots, open_slot

SECONDS_AT_MOST = 10.0
"""Of the tests that reach a change, so many are run that they take this long unchanged: the module's own first, and of
these the fastest first."""
OPTIONS = (
    "-q",
    "--tb=no",
    "-p",
    "no:cacheprovider",
    "-p",
    "no:schemathesis",
    "-o",
    "addopts=--strict-config --strict-markers",
)
LOAD_ANEW, TIMED_OUT = 77, 78


class Result(NamedTuple):
    """What became of a change."""

    change: Change
    verdict: str
    """"killed", "survived" or "timed out"."""
    tests: int
    """How many tests were to notice it."""


class Attempt:
    """A plugin of a session in which a change is tried."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._timed_out = False

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        by_id = {item.nodeid: item for item in items}
        items[:] = [by_id[name] for name, _ in self._job.tests if name in by_id] or items
        seconds = dict(self._job.tests)
        for item in items:
            item.add_marker(pytest.mark.timeout(2.0 + 10.0 * seconds.get(item.nodeid, 1.0)), append=False)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._timed_out |= report.failed and "Timeout (>" in report.longreprtext

    def end(self, code: int) -> None:
        os._exit(TIMED_OUT if self._timed_out else code)


class Recording:
    """A plugin of a session that records which test reaches which statement, and how long it takes."""

    def __init__(self, job: Job, trees: dict[str, ast.Module]) -> None:
        self._job = job
        self._reached: set[int] = set()
        self._clears = record(trees, self._reached.add)
        self._rows: dict[str, tuple[float, tuple[int, ...]]] = {}
        self._failed: set[str] = set()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, object, object]:
        self._reached.clear()
        for clear in self._clears:
            clear()
        began = time.perf_counter()
        result = yield
        self._rows[item.nodeid] = (time.perf_counter() - began, tuple(self._reached))
        return result

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self._failed.add(report.nodeid)

    def end(self, code: int) -> None:
        Path(self._job.output).write_bytes(pickle.dumps((self._rows, self._failed)))
        os._exit(0)


class Trials:
    """A plugin of the session that collects the tests. It runs none of them, but tries the changes."""

    def __init__(
        self, changes: Sequence[Change], own: Callable[[Change, str], bool], workers: int, until: float
    ) -> None:
        """`own` returns whether a file of tests is one of the changed module's own; `until` is in monotonic seconds."""
        self.results: list[Result] = []
        self.failing: set[str] = set()
        self._here: Attempt | Recording | None = None
        self._changes = changes
        self._own = own
        self._until = until
        self._anew: list[Connection[Any, Any]] = []
        self._workers = workers
        self._trees = {each.module: each.tree for each in changes}

    def run(self, files: Sequence[str], tell: Callable[[Result], None]) -> None:
        """Try the changes with the tests in `files`, until time is up."""
        self._tell = tell
        here = os.getpid()
        try:
            code = pytest.main([*OPTIONS, *files], plugins=[self])
            if self._here is not None:
                self._here.end(code)
            if os.getpid() != here:
                os._exit(code)
        finally:
            close_slots()

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection(self, session: pytest.Session) -> None:
        """Before any module is loaded, fork those slots that load one with a change."""
        for _ in range(self._workers):
            slot = open_slot()
            if isinstance(slot, Job):
                self._attempt(session, slot)
                session.config.args[:] = sorted({_file_of(name) for name, _ in slot.tests})
                _load_changed(self._changes[slot.change])
                return
            self._anew.append(slot)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool | None:
        """Try all changes. In a process that is to run tests, return None: it goes on with them."""
        if session.testsfailed or self._here is not None:
            return None
        _warm_up_hypothesis()
        slots: list[Connection[Any, Any]] = []
        for _ in range(self._workers):
            slot = open_slot()
            if isinstance(slot, Job):
                self._become(session, slot)
                return None
            slots.append(slot)
        self._record([item.nodeid for item in session.items], slots)
        self._try_all(list(zip(slots, self._anew, strict=True)))
        return True

    def _become(self, session: pytest.Session, job: Job) -> None:
        if job.output:
            self._here = Recording(job, copy.deepcopy(self._trees))
            session.config.pluginmanager.register(self._here)
            wanted = {name for name, _ in job.tests}
            session.items[:] = [item for item in session.items if item.nodeid in wanted]
            return
        self._attempt(session, job).pytest_collection_modifyitems(session.items)
        change = self._changes[job.change]
        try:
            exchange(import_module(change.module), change.compiled(), change.where.scope)
        except NotExchangeableError:
            os._exit(LOAD_ANEW)

    def _attempt(self, session: pytest.Session, job: Job) -> Attempt:
        self._here = attempt = Attempt(job)
        session.config.pluginmanager.register(attempt)
        session.config.option.maxfail = 1
        return attempt

    def _record(self, names: list[str], slots: list[Connection[Any, Any]]) -> None:
        """Find out which tests reach which statements, and how long they take."""
        files = sorted({_file_of(name) for name in names})
        self._seconds: dict[str, float] = {}
        self._reaching: dict[int, list[str]] = defaultdict(list)
        with tempfile.TemporaryDirectory() as directory:
            for number, slot in enumerate(slots):
                some = set(files[number :: len(slots)])
                tests = tuple((name, 0.0) for name in names if _file_of(name) in some)
                slot.send(Job(-1, tests, 3600.0, f"{directory}/{number}"))
            for number, slot in enumerate(slots):
                slot.recv()
                rows, failing = pickle.loads(Path(f"{directory}/{number}").read_bytes())
                self.failing |= failing
                for name, (seconds, reached) in rows.items():
                    self._seconds[name] = seconds
                    for each in reached if name not in failing else ():
                        self._reaching[each].append(name)
        self._numbers = {name: number for number, name in enumerate(self._trees)}
        self._uses = uses_of_names(self._trees)

    def _tests_for(self, change: Change) -> list[str]:
        """Return the tests to run, in their order."""
        number = self._numbers[change.module]
        if change.where.scope is not None:
            found = set(self._reaching[key_of(number, change.where.statement)])
        else:
            name = change.where.name.rpartition(".")[2]
            found = {test for key in self._uses[name] for test in self._reaching[key]}
            files = {_file_of(test) for test in self._seconds if self._own(change, _file_of(test))}
            naming = {file for file in files if re.search(rf"\b{re.escape(name)}\b", Path(file).read_text())}
            found |= {test for test in self._seconds if _file_of(test) in naming}
        order = sorted(
            found - self.failing, key=lambda test: (not self._own(change, _file_of(test)), self._seconds[test])
        )
        sums = accumulate(self._seconds[test] for test in order)
        return order[: max(1, len(list(takewhile(lambda total: total < SECONDS_AT_MOST, sums))))]

    def _try_all(self, slots: list[tuple[Connection[Any, Any], Connection[Any, Any]]]) -> None:
        """Try the changes, one in each pair of slots at a time."""
        waiting = iter(enumerate(self._changes))
        running: dict[int, tuple[Connection[Any, Any], Job]] = {}
        while True:
            for pair in range(len(slots)):
                while pair not in running and time.monotonic() < self._until and (each := next(waiting, None)):
                    number, change = each
                    if tests := tuple((test, self._seconds[test]) for test in self._tests_for(change)):
                        job = Job(number, tests, 20.0 + 5.0 * sum(seconds for _, seconds in tests))
                        running[pair] = _start(job, slots[pair][change.where.scope is None])
                    else:
                        self._keep(change, 0, 0)
            if not running:
                return
            ready = wait([slot for slot, _ in running.values()])
            for pair, (slot, job) in list(running.items()):
                if slot not in ready:
                    continue
                del running[pair]
                if (code := slot.recv()) == LOAD_ANEW:
                    running[pair] = _start(job, slots[pair][1])
                else:
                    self._keep(self._changes[job.change], code, len(job.tests))

    def _keep(self, change: Change, code: int, tests: int) -> None:
        verdict = {0: "survived", TIMED_OUT: "timed out", TOO_LONG: "timed out"}.get(code, "killed")
        result = Result(change, verdict, tests)
        self.results.append(result)
        self._tell(result)


class _Changed:
    """Finds one module, and loads it with a change."""

    def __init__(self, change: Change) -> None:
        self._change = change

    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        if name != self._change.module:
            return None
        loader = _Loader(name, str(self._change.path.absolute()))
        loader.code = self._change.compiled()
        return spec_from_file_location(name, self._change.path.absolute(), loader=loader)


class _Loader(SourceFileLoader):
    code: CodeType

    def get_code(self, fullname: str) -> CodeType:
        return self.code


def _load_changed(change: Change) -> None:
    """Load the module, from now on, with a change."""
    for name in [each for each in sys.modules if each.partition(".")[0] == change.module.partition(".")[0]]:
        del sys.modules[name]
    sys.meta_path.insert(0, _Changed(change))


def _warm_up_hypothesis() -> None:
    """Have hypothesis collect the constants of all loaded modules once, and not in each fork."""
    hypothesis = import_module("hypothesis")  # only now: pytest rewrites the asserts of its plugins when it loads them
    hypothesis.given(hypothesis.strategies.integers())(lambda _: None)()


def _start(job: Job, slot: Connection[Any, Any]) -> tuple[Connection[Any, Any], Job]:
    slot.send(job)
    return slot, job


def _file_of(test: str) -> str:
    return test.partition("::")[0]

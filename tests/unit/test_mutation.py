"""The changes that `make mutate` makes to the code, and how it tells which tests reach them."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest

from tests.mutation.__main__ import equivalent_changes, equivalent_entries
from tests.mutation.changes import Change, changes_of
from tests.mutation.reach import NotExchangeableError, exchange, key_of, record, uses_of_names
from tests.mutation.subjects import chosen, module_of

CODE = '''
"""A module."""

import functools

HALF = 3
LIMIT = 2 * HALF


class Counter:
    """Counts."""

    step = 1

    def __init__(self) -> None:
        self.count = 0

    @property
    def is_full(self) -> bool:
        """Whether it is full."""
        return self.count >= LIMIT

    @functools.cache
    def twice(self):
        return self.count * 2


def sign(number):
    if number < 0:
        return "below"
    return "above"
'''


@pytest.fixture
def path(tmp_path, monkeypatch):
    path = tmp_path / "mutated.py"
    path.write_text(CODE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "mutated", raising=False)
    return path


@pytest.fixture
def module(path) -> ModuleType:
    return import_module("mutated")


def changed(tmp_path, code: str) -> list[str]:
    path = tmp_path / "code.py"
    path.write_text(code)
    return [each.what for each in changes_of("code", path)]


def find(path: Path, what: str) -> Change:
    return next(each for each in changes_of("mutated", path) if each.what == what)


@pytest.mark.parametrize(
    ("code", "changes"),
    [
        pytest.param("a < b", ["a < b → a <= b", "a < b → a >= b"], id="comparison"),
        pytest.param("a and b and c", ["→ b and c", "→ a and c", "→ a and b"], id="condition"),
        pytest.param("not a", ["not a → a"], id="negation"),
        pytest.param("a + min(b, c)", ["a + min(b, c) → a - min(b, c)", "min(b, c) → max(b, c)"], id="arithmetic"),
        pytest.param("7", ["7 → 8", "7 → 6"], id="whole number"),
        pytest.param("1.5", ["1.5 → 3.0", "1.5 → 0.75"], id="number"),
        pytest.param("a == 'x'", ["a == 'x' → a != 'x'", "'x' → 'x?'"], id="a text that decides"),
        pytest.param("b if a else c", ["a → not a"], id="choice"),
    ],
)
def test_what_decides_is_changed(tmp_path, code, changes):
    made = changed(tmp_path, f"def f():\n    x = {code}\n")
    assert len(made) == len(changes)
    assert all(one.endswith(other) for one, other in zip(made, changes, strict=True))


@pytest.mark.parametrize(
    ("statement", "changes"),
    [
        pytest.param("g(a)", ["g(a) → pass"], id="call"),
        pytest.param("a.b = c", ["a.b = c → pass"], id="attribute"),
        pytest.param("a += b", ["a += b → a -= b", "a += b → pass"], id="sum"),
        pytest.param("return a", ["return a → return None"], id="result"),
        pytest.param("raise ValueError(f'{a} < 3')", ["raise ValueError(f'{a} < 3') → pass"], id="error"),
    ],
)
def test_statements_are_removed(tmp_path, statement, changes):
    assert changed(tmp_path, f"def f():\n    {statement}\n") == changes


@pytest.mark.parametrize(
    "code",
    [
        "def f(a: int = g, b: Literal['x'] = h) -> int | None:\n    'A text with 3.'",
        "def f():\n    _log.warning('queue.full', count=3)",
        "def __repr__(self):\n    return 'x'",
        "@overload\ndef f(a: str) -> int:\n    return 3",
        "class P(Protocol):\n    def f(self) -> int:\n        return 3",
        "A = int | None\nB: TypeAlias = 'x'\n__all__ = ['a', 'b']",
        "def f(x):\n    assert x < 3\n    assert_never(x)",
    ],
)
def test_what_decides_nothing_is_left_alone(tmp_path, code):
    assert changed(tmp_path, code) == []


def test_a_change_is_shown_as_the_line_before_and_after(path):
    change = find(path, "self.count >= LIMIT → self.count > LIMIT")
    before, after = change.before_and_after(path.read_text().splitlines())
    assert (before, after) == ("        return self.count >= LIMIT", "        return self.count > LIMIT")


def test_a_change_takes_effect_in_a_function_that_is_in_use_and_can_be_undone(path, module):
    counter = module.Counter()
    change = find(path, "self.count >= LIMIT → self.count < LIMIT")
    exchange(module, change.compiled(), change.where.scope)
    assert counter.is_full
    exchange(module, compile(change.tree, str(path), "exec"))
    assert not counter.is_full, "the tree is as it was"


def test_a_function_that_closes_over_something_else_is_loaded_anew(module):
    other = compile("class Counter:\n    def count(self):\n        return __class__\n", "x", "exec")
    with pytest.raises(NotExchangeableError):
        exchange(module, other, "Counter.count")


def test_each_statement_that_a_test_runs_is_recorded(path, module):
    reached: set[int] = set()
    trees = {"mutated": changes_of("mutated", path)[0].tree}
    record(trees, reached.add)
    module.sign(-1)
    lines = [
        number for number, line in enumerate(CODE.splitlines(), start=1) if "number < 0" in line or "below" in line
    ]
    assert reached == {key_of(0, line) for line in lines}
    reached.clear()
    assert not module.Counter().is_full
    assert reached & uses_of_names(trees)["LIMIT"]
    assert reached & uses_of_names(trees)["HALF"], "a constant that is only in the value of another one"


def test_every_equivalent_change_is_found_and_has_a_reason():
    parts = chosen("")
    changes = [change for path in parts for change in changes_of(module_of(path), path)]
    entries = equivalent_entries()
    assert all(each["why"] for each in entries)
    assert len(equivalent_changes(changes, set(parts))) >= len(entries)


@pytest.fixture
def listed(tmp_path, monkeypatch):
    """How many changes of a module an entry lists."""
    monkeypatch.setattr("tests.mutation.__main__.EQUIVALENT", tmp_path)

    def count(entry: str, module: str = "api/breaker.py") -> int:
        (tmp_path / "api.toml").write_text(f'[[equivalent]]\nmodule = "{module}"\nwhy = "w"\n{entry}')
        path = Path("worker/asset_worker") / module
        return len(equivalent_changes(list(changes_of(module_of(path), path)), {path}))

    return count


def test_a_change_that_can_be_made_at_several_places_of_a_line_is_listed_with_what_the_line_becomes(listed):
    entry = 'line = "visited, level = 0, [0] if size else []"\nchange = "0 → 1"\n'
    places = ["visited, level = 1, [0] if size else []", "visited, level = 0, [1] if size else []"]
    assert [listed(f"{entry}becomes = {each}", "queue/heap.py") for each in (places[:1], places)] == [1, 2]
    with pytest.raises(LookupError, match="say what it `becomes`"):
        listed(entry, "queue/heap.py")


def test_a_line_that_several_functions_have_is_listed_with_the_function(listed):
    entry = 'line = "self._is_regular = True"\nchange = "True → False"\n'
    assert listed(f'{entry}within = "Breaker._hold"') == 1
    with pytest.raises(LookupError, match=r"Breaker\.__init__.*Breaker\._hold.*say `within` which one"):
        listed(entry)
    with pytest.raises(LookupError, match="no such change any more"):
        listed(f'{entry}within = "Breaker.sent"')


def test_the_command_tries_changes_and_leaves_no_trace():
    command = [
        sys.executable,
        "-m",
        "tests.mutation",
        "--only",
        "runtime/durations.py",
        "--minutes",
        "5",
        "--seed",
        "1",
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "0 survived" in done.stdout

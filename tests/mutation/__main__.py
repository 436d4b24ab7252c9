"""`make mutate`: changes the pure and the durable modules, a little and one at a time, and has their tests notice.

The changes are drawn by a seed, and tried until time is up. A change that no test notices survives. No file is changed.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import time
import tomllib
from collections import Counter
from pathlib import Path
from typing import Any, TextIO

from tests.mutation.changes import Change, changes_of
from tests.mutation.subjects import PACKAGE, chosen, module_of, test_files
from tests.mutation.trials import Result, Trials

EQUIVALENT = Path(__file__).with_name("equivalent")
"""A folder with a file for each folder of modules. `line` is the line where the changed code begins, and `change` is as
printed here. `within` names the function (`Breaker._hold`), where several have that line. `why` says why no test can
notice the change: the program does the same with it."""
GOAL = 0.95
CLOSING_SECONDS = 10.0
"""What is being tried when time is up may take so long."""


def main() -> int:
    """Try the changes. Return 1 if fewer than the goal are noticed."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutation", description=__doc__)
    parser.add_argument("--seed", default="", help="draws the changes (default: today's date)")
    parser.add_argument("--minutes", type=float, default=15.0, help="how long it may take")
    parser.add_argument("--only", default="", help="a folder or module below the package: api, api/limits")
    arguments = parser.parse_args()
    seed = arguments.seed or time.strftime("%Y%m%d")
    until = time.monotonic() + 60 * arguments.minutes - CLOSING_SECONDS

    parts = chosen(arguments.only)
    if not parts:
        parser.error(f"{arguments.only} is no folder or module below {PACKAGE}: write api/limits, or api/breaker.py")
    changes = [change for path in parts for change in changes_of(module_of(path), path)]
    equivalent = equivalent_changes(changes, set(parts))
    tried = [change for change in changes if change not in equivalent]
    random.Random(seed).shuffle(tried)
    own = {path: test_files(part.own) for path, part in parts.items()}
    files = sorted(test_files(*{part.own for part in parts.values()}))

    os.environ["HYPOTHESIS_PROFILE"] = "mutation"  # the same examples as in `make unit`; they are not made smaller
    screen = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what pytest prints
    print(f"{len(tried)} changes to {len(parts)} modules, in the order of seed {seed}", file=screen)
    trials = Trials(tried, lambda change, file: file in own[change.path], os.cpu_count() or 1, until)
    trials.run(files, lambda result: print(shown(result), file=screen) if result.verdict == "survived" else None)
    for test in sorted(trials.failing):
        print(f"left out, because it fails without any change: {test}", file=screen)
    return summed_up(trials.results, len(equivalent), seed, screen)


def equivalent_entries() -> list[dict[str, Any]]:
    """Return what is listed as equivalent: `module`, `line`, `change` and `why` of each.

    Perhaps also `within`, the function, and `becomes`, what the line may be after the change: where several functions
    have the line, or the same change can be made at several of its places.
    """
    files = sorted(EQUIVALENT.glob("*.toml"))
    return [entry for file in files for entry in tomllib.loads(file.read_text())["equivalent"]]


def equivalent_changes(changes: list[Change], files: set[Path]) -> list[Change]:
    """Return those of the changes that no test can notice.

    Raises:
        LookupError: A change that is listed for one of the files is not among them, or is so in several functions or
            places.
    """
    found = []
    for entry in equivalent_entries():
        path = PACKAGE / entry["module"]
        if path not in files:
            continue
        lines = path.read_text().splitlines()

        def after(change: Change, lines: list[str] = lines) -> str:
            return change.before_and_after(lines)[1].strip()

        same = [
            each
            for each in changes
            if each.path == path
            and each.what == entry["change"]
            and lines[each.line - 1].strip() == entry["line"]
            and entry.get("within", each.where.scope) == each.where.scope
            and after(each) in entry.get("becomes", [after(each)])
        ]
        if not same:
            raise LookupError(f"{EQUIVALENT}: {path} has no such change any more: {entry['change']}")
        if len(scopes := {str(each.where.scope) for each in same}) > 1:
            raise LookupError(f"{EQUIVALENT}: {path}: {entry['change']} is in {sorted(scopes)}: say `within` which one")
        if "becomes" not in entry and len(places := {after(each) for each in same}) > 1:
            raise LookupError(f"{EQUIVALENT}: {path}: {entry['change']}: say what it `becomes` of {sorted(places)}")
        found += same
    return found


def shown(result: Result) -> str:
    """Return a change that survived, as lines for people."""
    change = result.change
    before, after = change.before_and_after(change.path.read_text().splitlines())
    tests = f"{result.tests} tests reach it" if result.tests else "no test reaches it"
    where = f"{change.path}:{change.line}: {tests}: {change.what}"
    return f"{where}\n  - {before.strip()}\n  + {after.strip()}"


def summed_up(results: list[Result], equivalent: int, seed: str, screen: TextIO) -> int:
    """Print the counts, for each part and in all. Return the exit code."""
    counts: dict[str, Counter[str]] = {}
    for change, verdict, _ in results:
        for name in (change.path.relative_to(PACKAGE).parts[0], "all"):
            counts.setdefault(name, Counter())[verdict] += 1
    for name, each in sorted(counts.items(), key=lambda item: (item[0] == "all", item[0])):
        print(f"{name:14}{noticed(each):7.1%} of {each.total():5} noticed: ", end="", file=screen)
        print(", ".join(f"{each[word]} {word}" for word in ("killed", "timed out", "survived")), file=screen)
    print(f"{equivalent} equivalent changes were left out; repeat this run with SEED={seed}", file=screen)
    return int(not results or noticed(counts["all"]) < GOAL)


def noticed(counts: Counter[str]) -> float:
    """Return the share of the changes that tests noticed, also by not ending."""
    return 1 - counts["survived"] / counts.total()


if __name__ == "__main__":
    sys.exit(main())

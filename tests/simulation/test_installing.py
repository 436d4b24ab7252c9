"""The worker reaches the files that are simulated by `os` and `fcntl` alone, so that no use of them is left out."""

import ast
import inspect
import os
from pathlib import Path, PurePath
from random import Random
from types import ModuleType

import pytest

from asset_worker.intake.file import tail_reader
from asset_worker.runtime import paths
from asset_worker.sinks.file import opening
from tests.simulation.file_system import SimulatedFiles
from tests.simulation.installing import installed, modules
from tests.simulation.system_calls import SimulatedOs

TOUCHING = {name for name in dir(Path) if name[0] != "_"} - {*dir(PurePath), "absolute", "expanduser"}
"""The methods of a path that use the file system."""
OTHER_WAYS = {"fileinput", "io", "mmap", "posix", "shutil", "tempfile"}
"""Modules that use it, too."""
NO_PATHS = {
    "os": TOUCHING,
    "os.path": TOUCHING,
    "entry": {"is_symlink"},  # of os.scandir
    "link": {"owner"},
    "msgspec.structs": {"replace"},
    "place": {"open"},
    "queue_file": {"open"},
    "self": {"open"},
    "self._search": {"open"},
}
"""Names of what is no path, with the methods that are called like those of a path."""


def other_ways(source: str) -> list[str]:
    """Return what in a module uses the file system in another way than by `os` and `fcntl`."""
    found: list[str] = []
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Call(func=ast.Name(id="open")):
                found.append("open")
            case ast.Attribute(value=owner, attr=name) if name in TOUCHING:
                if name not in NO_PATHS.get(ast.unparse(owner), ()):
                    found.append(ast.unparse(node))
            case ast.Import(names=names):
                found += [f"import {each.name}" for each in names if each.name.partition(".")[0] in OTHER_WAYS]
                found += [f"import {each.name}" for each in names if each.asname and each.name in {"os", "fcntl"}]
            case ast.ImportFrom(module=str(name)):
                found += [f"from {name}"] if name.partition(".")[0] in {*OTHER_WAYS, "os", "fcntl"} else []
            case _:
                pass
    return found


@pytest.mark.parametrize("module", modules(), ids=lambda module: module.__name__)
def test_the_followed_and_the_written_files_are_used_by_os_alone(module: ModuleType):
    assert not other_ways(inspect.getsource(module))


@pytest.mark.parametrize(
    "source",
    ["path.stat()", "open(path)", "self._path.open()", "entry.path.exists()", "import shutil", "from os import open"],
)
def test_any_other_way_is_noticed(source: str):
    assert other_ways(source)


def test_the_stand_in_is_in_every_module_that_asks_the_system_and_is_gone_afterwards():
    asking = [module for module in modules() if "os" in vars(module)]
    assert {tail_reader, opening, paths} <= {*asking}
    system = SimulatedOs(SimulatedFiles(Random(1), lambda: 0))
    with installed(system):
        assert [module for module in asking if vars(module)["os"] is not system] == []
        assert vars(opening)["fcntl"] is system.fcntl
    assert [module for module in asking if vars(module)["os"] is not os] == []

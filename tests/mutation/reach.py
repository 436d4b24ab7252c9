"""Which test reaches which statement: each function is given code that records the statements that it runs.

Code is exchanged in the loaded functions, so a test may have imported them under any name; nothing is loaded anew.
"""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Callable, Iterator
from importlib import import_module
from types import CodeType, FunctionType, ModuleType
from typing import Any

LINES_AT_MOST = 10_000
RECORD = "_mutation_reached"


class NotExchangeableError(Exception):
    """The function's variables are others in the new code, or it is not found: the module must be loaded anew."""


def exchange(module: ModuleType, code: CodeType, scope: str | None = None) -> None:
    """Give the module's functions, or only the one with the qualified name `scope`, the code of the compiled module."""
    new = {(each.co_qualname, each.co_firstlineno): each for each in _codes(code)}
    found = False
    for function in _functions(module, vars(module).values(), set()):
        old = function.__code__
        if scope not in {None, old.co_qualname}:
            continue
        other = new.get((old.co_qualname, old.co_firstlineno))
        if other is not None and other.co_freevars == old.co_freevars:
            function.__code__ = other
            found = True
    if scope is not None and not found:
        raise NotExchangeableError(scope)


def record(trees: dict[str, ast.Module], reached: Callable[[int], None]) -> list[Callable[[], None]]:
    """From now on, have `reached` called with the `key_of` each statement that runs in one of the modules.

    The trees are changed. Returns what empties the modules' caches: a cached result reaches nothing.
    """
    clears = []
    for number, (name, tree) in enumerate(trees.items()):
        module = import_module(name)
        clears += [value.cache_clear for value in vars(module).values() if hasattr(value, "cache_clear")]
        vars(module)[RECORD] = reached
        _mark(tree, number)
        exchange(module, compile(ast.fix_missing_locations(tree), str(module.__file__), "exec"))
    return clears


def key_of(module: int, line: int) -> int:
    """Return what stands for the statement that begins at this line of the module with this number."""
    return module * LINES_AT_MOST + line


def uses_of_names(trees: dict[str, ast.Module]) -> dict[str, set[int]]:
    """Return, for each name, the statements in functions of the modules that mention it.

    Also those that mention a constant of the same module in whose value it is mentioned.
    """
    uses: dict[str, set[int]] = defaultdict(set)
    for number, tree in enumerate(trees.values()):
        for name, line in _mentions(tree, 0):
            uses[name].add(key_of(number, line))
    for tree in trees.values():
        for constant, value in reversed(list(_constants(tree))):  # the names in a value come before it
            for name, _ in _mentions(value, 0):
                uses[name] |= uses[constant]
    return uses


def _constants(tree: ast.Module) -> Iterator[tuple[str, ast.Assign | ast.AnnAssign]]:
    """Yield the names that the module's own statements assign to, each with its statement."""
    for statement in tree.body:
        match statement:
            case ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name)):
                yield name, statement


def _mentions(node: ast.AST, line: int) -> Iterator[tuple[str, int]]:
    for child in ast.iter_child_nodes(node):
        there = child.lineno if isinstance(child, ast.stmt) else line
        match child:
            case ast.Name(id=name) | ast.Attribute(attr=name) | ast.keyword(arg=str(name)):
                yield name, there
        yield from _mentions(child, there)


def _mark(node: ast.AST, number: int, *, is_inside: bool = False) -> None:
    """Put a call that records it before each statement in functions."""
    is_inside = is_inside or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    for _, value in ast.iter_fields(node):
        if not isinstance(value, list):
            continue
        for child in [each for each in value if isinstance(each, ast.AST)]:
            _mark(child, number, is_inside=is_inside)
        if is_inside and value and isinstance(value[0], ast.stmt):
            value[:] = [each for child in value for each in (_call(child, number), child)]


def _call(statement: ast.stmt, number: int) -> ast.stmt:
    call = ast.Call(ast.Name(RECORD, ast.Load()), [ast.Constant(key_of(number, statement.lineno))], [])
    return ast.copy_location(ast.Expr(call), statement)


def _codes(code: CodeType) -> Iterator[CodeType]:
    for each in code.co_consts:
        if isinstance(each, CodeType):
            yield each
            yield from _codes(each)


def _functions(module: ModuleType, values: Any, seen: set[int]) -> Iterator[FunctionType]:
    """Yield the functions that the module defines: also methods, properties, and what decorators wrap."""
    for value in list(values):
        if id(value) in seen or getattr(value, "__module__", module.__name__) != module.__name__:
            continue
        seen.add(id(value))
        if isinstance(value, FunctionType):
            yield value
        if isinstance(value, type):
            yield from _functions(module, vars(value).values(), seen)
        wrapped = [getattr(value, name, None) for name in ("fget", "fset", "__func__", "func", "__wrapped__")]
        if isinstance(value, FunctionType | property | staticmethod | classmethod) or hasattr(value, "__wrapped__"):
            yield from _functions(module, [each for each in wrapped if callable(each)], seen)

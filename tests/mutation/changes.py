"""Small changes to a module, each of which its tests should notice: made from the syntax tree, never to the file.

What no test can or should hold is left alone: texts (log events, errors, `repr`), annotations, docstrings, decorators,
`__slots__`, overloads, protocols, assertions. Of strings, only those that decide something are changed.
"""

from __future__ import annotations

import ast
import copy
from collections.abc import Iterator
from pathlib import Path
from types import CodeType
from typing import NamedTuple

COMPARISONS: dict[type[ast.cmpop], tuple[type[ast.cmpop], ...]] = {
    ast.Lt: (ast.LtE, ast.GtE),
    ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.LtE),
    ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
}
ARITHMETIC: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Mult,
    ast.Pow: ast.Mult,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
    ast.BitXor: ast.BitAnd,
    ast.LShift: ast.RShift,
    ast.RShift: ast.LShift,
}
CALLS = {"min": "max", "max": "min", "any": "all", "all": "any"}
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
NO_VALUES: dict[type[ast.AST], tuple[str, ...]] = {
    ast.FunctionDef: ("decorator_list", "returns"),
    ast.AsyncFunctionDef: ("decorator_list", "returns"),
    ast.ClassDef: ("decorator_list", "bases", "keywords"),
    ast.AnnAssign: ("annotation",),
    ast.arg: ("annotation",),
}
NOTHING = {"None", "False", "0", "()", "[]", "{}", "''"}
LOGS = {"debug", "info", "warning", "error", "exception"}
DECIDING = {"get", "startswith", "endswith", "removeprefix", "removesuffix", "partition", "split", "pop"}
TEXTS = {"__repr__", "__str__"}


class Where(NamedTuple):
    """The place of a node in a tree."""

    scope: str | None  # the outermost function around it; None: it takes effect when the module is imported
    name: str  # what is defined there, outside functions
    statement: int  # the first line of the smallest statement around it
    parent: ast.AST
    field: str
    place: int | None
    """The index, if the field is a list."""

    def put(self, node: ast.AST) -> None:
        """Put a node there."""
        if self.place is None:
            setattr(self.parent, self.field, node)
        else:
            getattr(self.parent, self.field)[self.place] = node


class Change(NamedTuple):
    """One change to a module: a node, and what takes its place."""

    module: str
    path: Path
    tree: ast.Module
    where: Where
    old: ast.AST
    new: ast.AST

    @property
    def line(self) -> int:
        """Return the line at which the changed node begins."""
        return int(getattr(self.old, "lineno", self.where.statement))

    @property
    def what(self) -> str:
        """Return what is changed, on one line: `a < b → a <= b`."""
        return " → ".join(" ".join(ast.unparse(each).split()) for each in (self.old, self.new))

    def before_and_after(self, lines: list[str]) -> tuple[str, str]:
        """Return the line, of the module's, at which the changed node begins, as it is and with the change."""
        line, node = lines[self.line - 1], self.old
        assert isinstance(node, ast.stmt | ast.expr)
        if node.end_lineno != node.lineno:
            return line, f"{line[: node.col_offset]}{ast.unparse(self.new)}"
        encoded = line.encode()
        after = encoded[: node.col_offset] + ast.unparse(self.new).encode() + encoded[node.end_col_offset :]
        return line, after.decode()

    def compiled(self) -> CodeType:
        """Return the changed module, compiled. The tree is left as it was."""
        self.where.put(ast.fix_missing_locations(ast.copy_location(self.new, self.old)))
        try:
            return compile(self.tree, str(self.path), "exec")
        finally:
            self.where.put(self.old)


def changes_of(module: str, path: Path) -> list[Change]:
    """Return every change to the module at `path`, in the order of its lines."""
    tree = ast.parse(path.read_text())
    return [
        Change(module, path, tree, where, node, new)
        for where, node in _nodes(tree, Where(None, "", 0, tree, "body", None))
        for new in _replacements(node, where)
        if where.scope is not None or isinstance(node, ast.expr)
    ]


def _nodes(node: ast.AST, where: Where, prefix: str = "") -> Iterator[tuple[Where, ast.AST]]:
    """Yield each node that may be changed, with its place."""
    for field, value in ast.iter_fields(node):
        if isinstance(node, ast.Raise) or field in NO_VALUES.get(type(node), ()):
            continue
        for index, child in enumerate(value) if isinstance(value, list) else [(None, value)]:
            if not isinstance(child, ast.AST) or _is_text(child):
                continue
            scope, name, inner = where.scope, where.name, prefix
            if isinstance(node, FUNCTIONS) and field == "body":
                scope = scope or prefix.removesuffix(".")
            match child:
                case ast.ClassDef() | ast.FunctionDef() | ast.AsyncFunctionDef():
                    inner, name = f"{prefix}{child.name}.", child.name
                case ast.Assign(targets=[target]) | ast.AnnAssign(target=target) if scope is None:
                    name = ast.unparse(target)
            statement = child.lineno if isinstance(child, ast.stmt) else where.statement
            there = Where(scope, name, statement, node, field, index)
            yield there, child
            yield from _nodes(child, there, inner)


def _is_text(node: ast.AST) -> bool:
    """Return whether nothing in it decides anything: a text, a type, a promise to the type checker."""
    match node:
        case ast.JoinedStr() | ast.Assert() | ast.Import() | ast.ImportFrom() | ast.expr_context():
            return True
        case ast.Expr(value=ast.Constant()) | ast.keyword(arg="strict"):
            return True
        case ast.Delete(targets=targets):
            return all(isinstance(each, ast.Name) for each in targets)  # it says that an argument is not used
        case ast.Expr(value=ast.Call(func=ast.Attribute(value=ast.Name(id="_log"), attr=attr))):
            return attr in LOGS
        case ast.Call(func=ast.Name(id=name)) | ast.Expr(value=ast.Call(func=ast.Name(id=name))):
            return name in {"assert_never", "cast", "TypeVar", "NewType"}
        case ast.If(test=ast.Name(id="TYPE_CHECKING")):
            return True
        case ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name)):
            return name in {"__slots__", "__all__", "__match_args__"} or _is_type(getattr(node, "value", None))
        case ast.ClassDef():
            return any(ast.unparse(base).split("[")[0] in {"Protocol", "TypedDict"} for base in node.bases)
        case ast.FunctionDef() | ast.AsyncFunctionDef():
            return node.name in TEXTS or any(ast.unparse(each).endswith("overload") for each in node.decorator_list)
    return False


def _is_type(node: ast.AST | None) -> bool:
    """Return whether it is a type: `A | B`, `Literal["a"]`, `Callable[[], None]`."""
    match node:
        case ast.BinOp(left=left, op=ast.BitOr(), right=right):
            return _is_type(left) and _is_type(right)
        case ast.Name(id=name) | ast.Attribute(attr=name) | ast.Subscript(value=ast.Name(id=name)):
            return not name.isupper() and (
                name[0].isupper() or name in {"int", "str", "float", "bytes", "dict", "list"}
            )
        case ast.Constant(value=None):
            return True
    return False


def _replacements(node: ast.AST, where: Where) -> Iterator[ast.AST]:
    """Yield what may take the place of the node. Nodes that stay are shared with the tree."""
    if where.field == "test" and isinstance(node, ast.Name | ast.Attribute | ast.Call | ast.NamedExpr | ast.Await):
        yield ast.UnaryOp(ast.Not(), node)
    match node:
        case ast.Compare():
            for place, operator in enumerate(node.ops):
                for other in COMPARISONS[type(operator)]:
                    yield _with(node, ops=[*node.ops[:place], other(), *node.ops[place + 1 :]])
        case ast.BinOp(op=operator) if type(operator) in ARITHMETIC and not _is_type(node) and not _has_text(node):
            yield _with(node, op=ARITHMETIC[type(operator)]())
        case ast.AugAssign(op=operator) if type(operator) in ARITHMETIC:
            yield _with(node, op=ARITHMETIC[type(operator)]())
            yield ast.Pass()
        case ast.BoolOp(values=values):
            for place in range(len(values)):
                rest = [*values[:place], *values[place + 1 :]]
                yield _with(node, values=rest) if len(rest) > 1 else rest[0]
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            yield operand
        case ast.Call(func=ast.Name(id=name)) if name in CALLS:
            yield _with(node, func=ast.Name(CALLS[name], ast.Load()))
        case ast.Constant(value=bool(value)):
            yield ast.Constant(not value)
        case ast.Constant(value=int(value)):
            yield ast.Constant(value + 1)
            if where.scope is not None and value > 0:
                yield ast.Constant(value - 1)
        case ast.Constant(value=float(value)):
            yield ast.Constant(value * 2 if value else 1.0)
            if value and where.scope is not None:
                yield ast.Constant(value / 2)
        case ast.Constant(value=str(value)) if _decides(where):
            yield ast.Constant(value + "?")
        case ast.Return(value=ast.expr() as value) if ast.unparse(value) not in NOTHING:
            yield ast.Return(ast.Constant(None))
        case ast.Expr(value=ast.Call() | ast.Await()) | ast.Raise() | ast.Delete():
            yield ast.Pass()
        case ast.Assign(targets=[ast.Attribute() | ast.Subscript()]) if not (where.scope or "").endswith("__init__"):
            yield ast.Pass()
        case ast.Break():
            yield ast.Continue()
        case ast.Continue():
            yield ast.Pass()


def _decides(where: Where) -> bool:
    """Return whether a string at this place decides something."""
    match where.parent:
        case ast.Compare() | ast.MatchValue() | ast.Subscript() | ast.Set() | ast.Tuple():
            return True
        case ast.Dict():
            return where.field == "keys"
        case ast.Call(func=ast.Attribute(attr=name)):
            return where.field == "args" and name in DECIDING
    return False


def _has_text(node: ast.BinOp) -> bool:
    return any(
        isinstance(each, ast.JoinedStr) or (isinstance(each, ast.Constant) and isinstance(each.value, str))
        for each in (node.left, node.right)
    )


def _with(node: ast.AST, **fields: object) -> ast.AST:
    other = copy.copy(node)
    for name, value in fields.items():
        setattr(other, name, value)
    return other

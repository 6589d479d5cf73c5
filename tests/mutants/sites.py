"""Where a module can be mutated, and the source with one place changed."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_COMPARISONS = {
    ast.Lt: "<=", ast.LtE: "<", ast.Gt: ">=", ast.GtE: ">", ast.Eq: "!=", ast.NotEq: "==",
    ast.Is: "is not", ast.IsNot: "is", ast.In: "not in", ast.NotIn: "in",
}  # fmt: skip
_OPERATORS = {ast.Add: "-", ast.Sub: "+", ast.Mult: "/", ast.Div: "*"}
#: Parts of SQL, and what takes their place.
_SQL = (
    ("NOT ", ""), (" AND ", " OR "), (" < ", " <= "), (" > ", " >= "), (" <= ", " < "),
    (" >= ", " > "), ("IS DISTINCT FROM", "IS NOT DISTINCT FROM"), (" ASC", " DESC"),
)  # fmt: skip
_IS_SQL = re.compile(r"\b(SELECT|UPDATE|INSERT|DELETE|WHERE)\b")


@dataclass(frozen=True)
class Site:
    """One change: the characters [begin, end) of a source become `new`."""

    begin: int
    end: int
    new: str
    line: int
    old: str

    def apply(self, source: str) -> str:
        """The source with this change."""
        return source[: self.begin] + self.new + source[self.end :]

    def __str__(self) -> str:
        return f"line {self.line}: {self.old!r} -> {self.new!r}"


def sites_of(source: str) -> list[Site]:
    """Every change of a module, in the order of the source; docstrings and types are left."""
    starts = [0]
    for line in source.splitlines(keepends=True):
        starts.append(starts[-1] + len(line.encode()))
    raw = source.encode()

    def span(node: ast.expr) -> tuple[int, int]:
        begin = starts[node.lineno - 1] + node.col_offset
        end = starts[(node.end_lineno or node.lineno) - 1] + (node.end_col_offset or 0)
        return len(raw[:begin].decode()), len(raw[:end].decode())

    found = []
    for node in _mutable(ast.parse(source)):
        found += [
            Site(begin, end, new, source.count("\n", 0, begin) + 1, source[begin:end])
            for begin, end, new in _changes(node, source, span)
        ]
    return sorted(set(found), key=lambda site: (site.begin, site.new))


def _mutable(tree: ast.AST) -> Iterator[ast.AST]:
    """Nodes that run: no annotations, no docstrings, nothing below TYPE_CHECKING."""
    for node in ast.iter_child_nodes(tree):
        if _is_left_out(node):
            continue
        if isinstance(node, ast.AnnAssign):
            if node.value is not None:
                yield from _with_children(node.value)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            for inner in (*node.args.defaults, *filter(None, node.args.kw_defaults)):
                yield from _with_children(inner)
            yield from _mutable(ast.Module(body=node.body, type_ignores=[]))
        elif isinstance(node, ast.ClassDef):  # decorators say how it is made, not what it does
            yield from _mutable(ast.Module(body=node.body, type_ignores=[]))
        else:
            yield from _with_children(node)


def _is_left_out(node: ast.AST) -> bool:
    """Imports, docstrings, what only types need, and `strict=` of zips of one length."""
    if isinstance(node, ast.If):
        return "TYPE_CHECKING" in ast.unparse(node.test)
    if isinstance(node, ast.Expr):
        return isinstance(node.value, ast.Constant)
    is_strict = isinstance(node, ast.keyword) and node.arg == "strict"
    return is_strict or isinstance(node, ast.ImportFrom | ast.Import)


def _with_children(node: ast.AST) -> Iterator[ast.AST]:
    yield node
    yield from _mutable(node)


def _changes(node, source, span) -> Iterator[tuple[int, int, str]]:
    """The changes of one node: an operator, a negation, or a constant."""
    if isinstance(node, ast.Compare) and len(node.ops) == 1:
        new = _COMPARISONS.get(type(node.ops[0]))
        if new is not None:
            between = span(node.left)[1], span(node.comparators[0])[0]
            yield _operator(source, between, new)
    elif isinstance(node, ast.BinOp):
        if type(node.op) in _OPERATORS and not (_is_text(node.left) or _is_text(node.right)):
            between = span(node.left)[1], span(node.right)[0]
            yield _operator(source, between, _OPERATORS[type(node.op)])
    elif isinstance(node, ast.BoolOp):
        new = "or" if isinstance(node.op, ast.And) else "and"
        yield _operator(source, (span(node.values[0])[1], span(node.values[1])[0]), new)
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        begin, _ = span(node)
        yield begin, begin + len("not "), ""
    elif isinstance(node, ast.Constant):
        yield from _constants(node.value, span(node), source)


def _constants(
    value: object, span: tuple[int, int], source: str
) -> Iterator[tuple[int, int, str]]:
    begin, end = span
    if isinstance(value, bool):
        yield begin, end, str(not value)
    elif isinstance(value, int | float):
        yield begin, end, repr(value + 1)
    elif isinstance(value, str) and _IS_SQL.search(value):
        for old, new in _SQL:
            place = source.find(old, begin, end)
            if place >= 0:
                yield place, place + len(old), new


def _is_text(node: ast.expr) -> bool:
    value = getattr(node, "value", None)
    return isinstance(node, ast.JoinedStr) or isinstance(value, str)


def _operator(source: str, between: tuple[int, int], new: str) -> tuple[int, int, str]:
    """The operator between two operands, without the blanks and brackets around it."""
    text = source[between[0] : between[1]]
    inner = re.search(r"[^\s()\\]+(?:\s+(?:not|in)\b)?", text)
    begin = between[0] + (inner.start() if inner else 0)
    return begin, begin + len(inner[0] if inner else text), new

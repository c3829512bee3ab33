"""Names and docstrings say plainly what things are: a measure of the whole code, and rules for the package."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "server" / "bitrix24_directories"
SOURCES = sorted(path for folder in ("server", "tests", "benchmarks") for path in (ROOT / folder).rglob("*.py"))
TREES = {path: ast.parse(path.read_text(encoding="utf-8")) for path in SOURCES}

VAGUE = {
    *(
        "one",
        "ones",
        "found",
        "said",
        "known",
        "kept",
        "given",
        "position",
        "some",
        "others",
        "told",
        "wanted",
        "named",
    ),
    *("listed", "of", "asked", "meant", "shown", "gone", "far", "each", "such", "it", "thing", "stuff", "what", "who"),
}
"""Words that say nothing as the whole name of a variable, a parameter or a function."""
QUESTIONS = {"what", "who", "whom", "whose", "which", "whether", "those", "where", "when", "how", "that", "why"}
MOST_VAGUE = 0.01
FIRST_LINE = 90

Documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def bound_names(tree: ast.AST) -> Iterator[str]:
    """Each name that a module binds, once for each position that binds it."""
    for node in ast.walk(tree):
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                yield name
            case ast.arg(arg=name) | ast.Name(id=name, ctx=ast.Store()) | ast.Attribute(attr=name, ctx=ast.Store()):
                yield name
            case ast.MatchAs(name=str(name)) | ast.MatchStar(name=str(name)) | ast.MatchMapping(rest=str(name)):
                yield name
            case ast.ExceptHandler(name=str(name)) | ast.alias(asname=str(name)):
                yield name


def docstrings(folder: Path) -> Iterator[tuple[str, str]]:
    """Each docstring below a folder, with the position where it stands."""
    for path, tree in TREES.items():
        if folder in path.parents:
            for node in ast.walk(tree):
                if isinstance(node, Documented) and (text := ast.get_docstring(node)):
                    yield f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', 1)}", text


def test_few_names_say_nothing() -> None:
    names = [name.strip("_") for tree in TREES.values() for name in bound_names(tree)]
    vague = Counter(name for name in names if name in VAGUE)
    assert vague.total() <= MOST_VAGUE * len(names), vague


def test_no_docstring_begins_with_a_question_word() -> None:
    assert [position for position, text in docstrings(ROOT) if text.split()[0].strip("`.,:").lower() in QUESTIONS] == []


def test_the_first_line_of_a_docstring_is_short() -> None:
    """Except tools and prompts: clients show their docstrings as descriptions."""
    long = [position for position, text in docstrings(PACKAGE) if len(text.splitlines()[0]) > FIRST_LINE]
    assert [
        position for position in long if "mcp_server/tools/" not in position and "mcp_server/prompts.py" not in position
    ] == []


def test_no_two_classes_have_one_name() -> None:
    """The demo portal apart: it imports nothing of the others."""
    names = Counter(
        node.name
        for path, tree in TREES.items()
        if PACKAGE in path.parents and PACKAGE / "portal" not in path.parents
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
    )
    assert [name for name, count in names.items() if count > 1] == []


@pytest.mark.parametrize("name", ["one", "_said", "found"])
def test_the_measure_sees_each_kind_of_binding(name: str) -> None:
    source = f"""
def {name}(): ...
def f({name}, *, x): ...
{name} = 1
for {name} in (): ...
self.{name} = 2
match 1:
    case {name}: ...
import a as {name}
"""
    assert [*bound_names(ast.parse(source))].count(name) == 7


def undocumented(tree: ast.AST) -> Iterator[str]:
    """Each public class and function without a docstring; methods of derived classes are described in the base."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and not node.name.startswith("_"):
            if not ast.get_docstring(node):
                yield node.name
            if isinstance(node, ast.ClassDef) and not node.bases:
                yield from (f"{node.name}.{name}" for name in undocumented(node))


def test_each_public_name_has_a_docstring() -> None:
    missing = [
        f"{path.relative_to(PACKAGE)}: {name}"
        for path, tree in TREES.items()
        if PACKAGE in path.parents
        for name in undocumented(tree)
    ]
    assert missing == []

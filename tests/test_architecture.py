"""Imports follow the map of docs/ARCHITECTURE.md: only downwards, and without circles."""

from __future__ import annotations

import ast
import os
import re
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import bitrix24_directories

ROOT = Path(bitrix24_directories.__file__).parent
NAME = bitrix24_directories.__name__
PAGE = Path(__file__).parent.parent / "docs" / "ARCHITECTURE.md"
MAP = PAGE.read_text(encoding="utf-8")

LAYERS = [
    *("cli", "team", "mcp_server", "changing", "records", "finding", "directories", "settings"),
    *("rest", "errors", "state", "portal", "base"),
]
BASE = {"", "text", "words", "redaction", "logs"}
REST = ["client", "connection", "authorization", "limits", "wire", "addresses"]

MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix("__init__").removesuffix("."): path
    for path in ROOT.rglob("*.py")
}


def imports(module: str) -> Iterator[str]:
    """Modules of this package that `module` imports, late and type-checking ones included."""
    path = MODULES[module]
    package = module.split(".") if path.name == "__init__.py" else module.split(".")[:-1]
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            for alias in node.names:
                assert not alias.name.startswith(NAME), f"{module}: names are imported from modules, not modules"
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                parent = package[: len(package) - node.level + 1]
                source = ".".join([*(part for part in parent if part), *([node.module] if node.module else [])])
            elif node.module == NAME or (node.module or "").startswith(f"{NAME}."):
                source = (node.module or "").removeprefix(NAME).removeprefix(".")
            else:
                continue
            for alias in node.names:
                inside = f"{source}.{alias.name}".removeprefix(".")
                yield inside if inside in MODULES else source


def layer(module: str) -> str:
    first = module.partition(".")[0]
    return "base" if first in BASE else "cli" if first == "__main__" else first


def layer_of_rest(module: str) -> str:
    return module.split(".")[1]


@pytest.mark.parametrize("module", sorted(MODULES))
def test_nothing_is_imported_from_above(module: str) -> None:
    for imported in imports(module):
        ours, theirs = layer(module), layer(imported)
        assert LAYERS.index(ours) <= LAYERS.index(theirs), f"{module} imports {imported} from above"
        if ours == "portal":
            assert theirs == "portal", f"the demo portal imports {imported}, whose mistakes it would share"
        if theirs == "portal":
            assert ours in ("portal", "cli"), f"{module} imports the demo portal"
        if ours == theirs == "rest" and "." in module:
            here, there = layer_of_rest(module), layer_of_rest(imported)
            assert REST.index(here) <= REST.index(there), f"{module} imports {imported} from above"
        if module.startswith("changing.planning") and theirs == "changing":
            assert imported.startswith("changing.planning"), f"{module} imports {imported} from above"
        if imported.startswith("changing.merging") and ours == "changing":
            assert module.startswith("changing.merging"), f"{module} imports {imported} from above"


@pytest.mark.parametrize("module", sorted(module for module in MODULES if layer(module) != "rest"))
def test_the_client_is_used_by_its_front_door(module: str) -> None:
    inner = [imported for imported in imports(module) if imported.startswith("rest.")]
    assert not inner, f"{module} reaches into rest: what it needs belongs into rest/__init__.py"


def test_nothing_goes_in_circles() -> None:
    assert list(TopologicalSorter({module: set(imports(module)) - {module} for module in MODULES}).static_order())


def test_httpx_stays_inside_the_client() -> None:
    def users(name: str) -> set[str]:
        imported = re.compile(rf"^\s*(?:import|from) {name}\b", re.MULTILINE)
        return {layer(module) for module, path in MODULES.items() if imported.search(path.read_text(encoding="utf-8"))}

    assert users("httpx") == {"rest"}
    assert users("httpx2") <= {"team"}  # MCP brings it, and the team server wraps MCP


def drawn() -> str:
    """The map of the package: each package and module with the first line of its docstring."""
    lines: list[str] = []

    def draw(package: Path, indent: str) -> None:
        lines.append(_on_the_map(f"{indent}{package.name}/", package / "__init__.py"))
        modules = sorted(path for path in package.glob("*.py") if path.name != "__init__.py")
        lines.extend(_on_the_map(f"{indent}    {path.name}", path) for path in modules)
        for inside in sorted(path.parent for path in package.glob("*/__init__.py")):
            draw(inside, f"{indent}    ")

    for package in [ROOT / layer for layer in LAYERS if (ROOT / layer).is_dir()]:
        draw(package, "")
    lines += [_on_the_map(path.name, path) for path in sorted(ROOT.glob("*.py"))]
    return "\n".join(lines)


def _on_the_map(name: str, path: Path) -> str:
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    assert docstring, f"{path} has no docstring"
    return f"{name:<28}{docstring.splitlines()[0]}"


def test_the_map_is_made_of_docstrings() -> None:
    before, printed, after = MAP.split("```", 2)
    if os.environ.get("UPDATE_SNAPSHOTS"):
        PAGE.write_text(f"{before}```\n{drawn()}\n```{after}", encoding="utf-8")
    else:
        assert printed.strip("\n") == drawn()

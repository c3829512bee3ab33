"""Shape of the code: sizes, helpers, code that a call enters, use of others' private names.

Prints a Markdown table. The demo portal (`portal/`) is left out, as it is no part of the server.
"""

from __future__ import annotations

import ast
import asyncio
import logging
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

from bitrix24_directories.portal import DemoPortal

sys.path.append(str(Path(__file__).parent.parent / "tests"))
from support import PortalInProcess, connect

ROOT = Path(__file__).parent.parent / "server" / "bitrix24_directories"
GET = "get_directory_items"
STAGE = {"entityId": "DEAL_STAGE"}
RECORD = {"entity": "deal", "fields": {"TITLE": "A deal", "STAGE_ID": "NEW"}}
DECLARED = ["NEW: New", "Contract review", "WON: Deal Won", "LOSE: Deal Lost"]

SOURCES = {path: path.read_text(encoding="utf-8") for path in ROOT.rglob("*.py") if ROOT / "portal" not in path.parents}
TREES = [ast.parse(source) for source in SOURCES.values()]


def sizes() -> Iterator[tuple[str, str]]:
    """Lines and files of all packages and of each; top-level modules count as one package."""
    lines: Counter[str] = Counter()
    files: Counter[str] = Counter()
    for path, source in SOURCES.items():
        *folders, _ = path.relative_to(ROOT).parts
        package = f"{folders[0]}/" if folders else "modules at the top"
        lines[package] += source.count("\n")
        files[package] += 1
    yield "lines (files) without the demo portal", f"{lines.total():,} ({files.total()})"
    for package in sorted(lines):
        yield f"lines (files): {package}", f"{lines[package]:,} ({files[package]})"


def layout() -> Iterator[tuple[str, str]]:
    """Files and folders directly inside two packages, and pairs that import one another."""
    for package, bar in (("mcp_server", "≤ 12 and 20"), ("changing", "≤ 8 and 11")):
        imports: set[tuple[str, str]] = set()
        inside = {path.relative_to(ROOT / package).parts[0] for path in SOURCES if ROOT / package in path.parents}
        names = {name.removesuffix(".py") for name in inside} - {"__init__"}
        for path, tree in zip(SOURCES, TREES, strict=True):
            if ROOT / package not in path.parents:
                continue
            importer = path.relative_to(ROOT / package).parts[0].removesuffix(".py")
            for node in ast.walk(tree):
                if isinstance(node, ast.ImportFrom):
                    folders = path.relative_to(ROOT).parts[: -node.level] if node.level else ()
                    module = [*folders, *(node.module or "").removeprefix(f"{ROOT.name}.").split(".")]
                    targets = module[1:2] if module[1:2] != [""] else [alias.name for alias in node.names]
                    imports.update((importer, name) for name in targets if module[0] == package and name in names)
        between = {(importer, name) for importer, name in imports if importer not in (name, "__init__")}
        yield f"files and folders in {package}/, and imports between them ({bar})", f"{len(names)} and {len(between)}"


def helpers() -> Iterator[tuple[str, str]]:
    """Number of private functions named once in their module, and lines of a body.

    Docstrings don't count.
    """
    total = once = body = 0
    for tree in TREES:
        nodes = [*ast.walk(tree)]
        mentions = Counter(node.id for node in nodes if isinstance(node, ast.Name))
        mentions.update(node.attr for node in nodes if isinstance(node, ast.Attribute))
        for function in nodes:
            if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
                total += 1
                once += is_private(function.name) and mentions[function.name] <= 1
                statements = function.body[ast.get_docstring(function) is not None :]
                if statements:
                    body += (statements[-1].end_lineno or 0) - statements[0].lineno + 1
    yield "functions", f"{total:,}"
    yield "private functions that are named once (≤ 10 %)", f"{once / total:.1%}"
    yield "mean body of a function in lines (≥ 9)", f"{body / total:.1f}"


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.endswith("__")


def defined(node: ast.AST) -> str | None:
    """Name of the function, class, variable or attribute of `self` or `cls` that a node defines."""
    match node:
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
            return name
        case ast.Name(id=name, ctx=ast.Store()):
            return name
        case ast.Attribute(value=ast.Name(id="self" | "cls"), attr=name, ctx=ast.Store()):
            return name
    return None


def privacy() -> Iterator[tuple[str, str]]:
    """Private attributes of other packages: used here, and defined nowhere here."""
    nodes = [node for tree in TREES for node in ast.walk(tree)]
    attributes = [node.attr for node in nodes if isinstance(node, ast.Attribute) and is_private(node.attr)]
    public = {defined(node) for node in nodes} | {"_exit"}  # os._exit is public despite its name
    theirs = Counter(name for name in attributes if name not in public)
    names = ", ".join(f"`{name}` × {count}" for name, count in sorted(theirs.items()))
    yield "private attributes of other packages (0)", f"{theirs.total()}: {names}" if names else "0"


class Entered:
    """Functions of this package that are entered while a `with` statement runs."""

    def __enter__(self) -> Entered:
        self._codes: set[CodeType] = set()
        threading.setprofile(self._note)
        sys.setprofile(self._note)
        return self

    def __exit__(self, *_: object) -> None:
        sys.setprofile(None)
        threading.setprofile(None)

    def _note(self, frame: FrameType, event: str, _: Any) -> None:
        if event == "call":
            self._codes.add(frame.f_code)

    def __str__(self) -> str:
        ours = [code for code in self._codes if Path(code.co_filename) in SOURCES and code.co_name[0] != "<"]
        return f"{len(ours)} in {len({code.co_filename for code in ours})}"


async def calls() -> list[tuple[str, str]]:
    """Functions and modules that calls enter through an in-memory client.

    Each call is made once before it is watched.
    """
    async with connect(PortalInProcess(DemoPortal()), allow_writes=True) as assistant:

        async def entered(tool: str, **arguments: Any) -> str:
            with Entered() as entered:
                result = await assistant.call(tool, **arguments)
            assert not result.is_error, result.text
            return str(entered)

        for tool, arguments in ((GET, STAGE), ("check_record", RECORD)):
            await assistant.call(tool, **arguments)
        reading, checking = await entered(GET, **STAGE), await entered("check_record", **RECORD)
        for entity_id in ("DEAL_STAGE_1", "DEAL_STAGE"):
            planned = await assistant.call("apply_directory", entityId=entity_id, items=DECLARED)
            applying = await entered("apply_directory", entityId=entity_id, planId=planned.structured["planId"])
    return [
        ("functions in modules entered by a cached `get_directory_items` (≤ 25 in 14)", reading),
        ("the same by `check_record` of two fields (≤ 140 in 30)", checking),
        ("the same by `apply_directory` with its planId (≤ 150 in 30)", applying),
    ]


if __name__ == "__main__":
    logging.disable()  # the audit log
    print("| figure | measured |\n|---|---|")
    for name, value in [*sizes(), *layout(), *helpers(), *asyncio.run(calls()), *privacy()]:
        print(f"| {name} | {value} |")

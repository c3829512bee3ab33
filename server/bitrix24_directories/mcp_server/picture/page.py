"""The page of the picture: HTML, CSS and JavaScript. Reports share its colours. A leaf."""

from __future__ import annotations

from functools import cache
from pathlib import Path


def part(name: str) -> str:
    """Return one of the files that make up the page."""
    return Path(__file__).with_name(name).read_text(encoding="utf-8")


@cache
def page() -> str:
    """Return the whole page: it loads nothing from elsewhere."""
    html = part("picture.html")
    for name in ("picture.css", "picture.js"):
        html = html.replace(f"/* {name} */\n", part(name))
    return html

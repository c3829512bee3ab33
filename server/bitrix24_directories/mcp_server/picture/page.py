"""The page that draws the picture: HTML, CSS and JavaScript. A leaf, for a person's report draws with its colours."""

from __future__ import annotations

from functools import cache
from pathlib import Path


def part(name: str) -> str:
    """One of the files of which the page is made."""
    return Path(__file__).with_name(name).read_text(encoding="utf-8")


@cache
def page() -> str:
    """The whole page: nothing is loaded from elsewhere."""
    html = part("picture.html")
    for name in ("picture.css", "picture.js"):
        html = html.replace(f"/* {name} */\n", part(name))
    return html

"""Tests of the picture in Chromium, in the ext-apps project's own host; started by `run.py`."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import pytest
from mcp import Client
from PIL import Image, ImageChops
from playwright.async_api import Frame, Page, async_playwright

from bitrix24_directories.mcp_server.picture.data import PICTURE
from bitrix24_directories.mcp_server.picture.page import page as whole_page
from bitrix24_directories.portal import DemoPortal
from support import PortalInProcess
from test_picture import client_of

HERE = Path(__file__).parent
INSTALLED = HERE.parent.parent / ".picture"
SHOTS = HERE / "screenshots"
DIFFERENT = 24
"""Difference, of 255, that makes a pixel count: letters differ a little between versions."""
MOST_DIFFERENT = 0.01
HOSTILE = [
    "<script>window.parent.harmed = 1; document.title = 'harmed'</script>",
    "<img src=x onerror=\"document.title = 'harmed'\">",
    '"><svg onload="document.title=\'harmed\'">',
    "javascript:document.title='harmed'",
    "</style></script><iframe src=javascript:document.title='harmed'></iframe>",
    "{{constructor.constructor('document.title=1')()}} ${document.title=1}",
    "x" * 10_000,
    "مرحلة " * 400,
    "\u202edesrever\u202c \u0000 \ufeff",
]
GERMAN = "Donaudampfschifffahrtsgesellschaftskapitänsmützenabzeichenverleihungsvoraussetzungsprüfung"
ARABIC = "تم التوقيع على العقد مع العميل"


@dataclass
class Host:
    """A page of a host that shows the picture, and the server behind it."""

    page: Page
    client: Client
    called: list[str]

    @property
    def frame(self) -> Frame:
        return self.page.frames[-1]

    async def open(self, **context: Any) -> None:
        await self.page.evaluate(
            "([html, context]) => open_picture(html, context)", [whole_page(), {"theme": "light"} | context]
        )

    async def show(self, result: dict[str, Any], **arguments: Any) -> None:
        await self.page.evaluate("([given, result]) => show_result(given, result)", [arguments, result])
        await self.frame.wait_for_selector("main > *")  # later results then replace the first at once

    async def show_call(self, tool: str, **arguments: Any) -> dict[str, Any]:
        """Call a tool, and show its result."""
        result = await self.call(tool, arguments)
        await self.show(result, **arguments)
        return result

    async def call(self, tool: str, arguments: dict[str, Any]) -> dict[str, Any]:
        result = await self.client.call_tool(tool, arguments)
        return result.model_dump(mode="json", by_alias=True, exclude_none=True)

    async def violations(self) -> list[str]:
        """Violations found by axe in the frame itself: a sandboxed frame is closed to its parent."""
        await self.frame.evaluate((INSTALLED / "node_modules/axe-core/axe.min.js").read_text())
        axe = await self.frame.evaluate("axe.run(document, {runOnly: ['wcag2a', 'wcag2aa', 'wcag21aa', 'wcag22aa']})")
        return [f"{violation['id']}: {violation['nodes'][0]['html'][:200]}" for violation in axe["violations"]]

    async def overflows(self) -> bool:
        return bool(await self.frame.evaluate("document.documentElement.scrollWidth > innerWidth"))


@asynccontextmanager
async def hosting(portal: PortalInProcess, width: int = 480) -> AsyncIterator[Host]:
    async with client_of(portal) as client, async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        page = await browser.new_page(viewport={"width": width, "height": 900})
        host = Host(page, client, [])

        async def call_tool(name: str, arguments: str) -> str:
            host.called.append(name)
            return json.dumps(await host.call(name, json.loads(arguments)))

        page.set_default_timeout(5000)
        await page.expose_function("callTool", call_tool)
        await page.set_content("<!doctype html><title>host</title><body style='margin: 0'>")
        await page.add_script_tag(content=(INSTALLED / "host.js").read_text())
        yield host
        await browser.close()


@pytest.fixture
def demo() -> PortalInProcess:
    return PortalInProcess(DemoPortal())


PLAN = [
    "NEW: New",
    "EXECUTING: In Progress",
    "PREPARATION: Papers",
    "Contract review #112233",
    "PREPAYMENT_INVOICE: Prepayment Invoice #FF00FF",
    "WON: Deal Won",
    "LOSE: Deal Lost",
]


SHOWN_PLAN = [
    "NEW: New",
    "PREPARATION: Papers",
    "Contract review",
    "PREPAYMENT_INVOICE: Prepayment Invoice",
    "FINAL_INVOICE: Final Invoice",
    "EXECUTING: In Progress",
    "WON: Deal Won",
    "LOSE: Deal Lost",
]
GAP = 24


def compare(name: str, shot: bytes, folder: Path = SHOTS) -> None:
    """Compare a screenshot with the stored one, or store it.

    Called at the end of a test, for it skips the test if the system's font is another one.
    """
    font = subprocess.run(["fc-match", "system-ui"], capture_output=True, text=True, check=False).stdout
    if "DejaVu Sans" not in font:
        pytest.skip(f"the screenshots are in DejaVu Sans, and this system draws in {font.strip() or 'no known font'}")
    screenshot = folder / f"{name}.png"
    if os.environ.get("UPDATE_PICTURES"):
        Image.open(io.BytesIO(shot)).convert("P", palette=Image.Palette.ADAPTIVE).save(screenshot, optimize=True)
        return
    ours, theirs = (Image.open(source).convert("RGB") for source in (io.BytesIO(shot), screenshot))
    (INSTALLED / f"{name}.png").write_bytes(shot)
    assert ours.width == theirs.width, name
    assert abs(ours.height - theirs.height) <= 8, name
    size = (ours.width, min(ours.height, theirs.height))
    difference = ImageChops.difference(ours.crop((0, 0, *size)), theirs.crop((0, 0, *size))).convert("L")
    differing = sum(difference.point(lambda value: 255 * (value > DIFFERENT)).histogram()[255:])
    assert differing <= MOST_DIFFERENT * size[0] * size[1], f"{name}: {differing} pixels differ"


async def screenshot_whole(host: Host) -> bytes:
    """Screenshot of the whole height and width of the page."""
    height = await host.frame.evaluate("document.body.offsetHeight")
    await host.page.set_viewport_size({"width": host.page.viewport_size["width"], "height": height})
    return await host.page.screenshot()


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [320, 640])
async def test_usage(demo: PortalInProcess, theme: str, width: int) -> None:
    async with hosting(demo, width) as host:
        await host.open(theme=theme)
        await host.show_call("get_directory_usage", entityId="DEAL_STAGE")
        assert await host.frame.locator("ol > li").count() == 8
        assert not await host.overflows()
        assert await host.violations() == []
        compare(f"usage-{theme}-{width}", await screenshot_whole(host))


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [320, 640])
async def test_plan(demo: PortalInProcess, theme: str, width: int) -> None:
    deals = demo.portal.store.records.all
    for key in [key for key, deal in deals.items() if key[0] == 2 and deal["stageId"] in ("APOLOGY", "FINAL_INVOICE")]:
        del deals[key]  # otherwise these stages would remain
    async with hosting(demo, width) as host:
        await host.open(theme=theme)
        await host.show_call("apply_directory", entityId="DEAL_STAGE", items=PLAN)
        text = await host.frame.inner_text("main")
        for mark in ("+ added", "− removed", "✎ was called Document Preparation", "⇅ moved", "◐ another colour"):
            assert mark in text
        assert not await host.overflows()
        assert await host.violations() == []
        compare(f"plan-{theme}-{width}", await screenshot_whole(host))


async def test_the_readmes_picture(demo: PortalInProcess) -> None:
    deals = demo.portal.store.records.all
    for key in [key for key, deal in deals.items() if key[0] == 2 and deal["stageId"] == "APOLOGY"]:
        del deals[key]
    shots = []
    for tool, arguments in (
        ("get_directory_usage", {"entityId": "DEAL_STAGE"}),
        ("apply_directory", {"entityId": "DEAL_STAGE", "items": SHOWN_PLAN}),
    ):
        async with hosting(demo, 560) as host:
            await host.open()
            await host.show_call(tool, **arguments)
            shots.append(Image.open(io.BytesIO(await screenshot_whole(host))).convert("RGB"))
    left, right = shots
    both = Image.new("RGB", (left.width + GAP + right.width, max(left.height, right.height)), "white")
    both.paste(left, (0, 0))
    both.paste(right, (left.width + GAP, 0))
    written = io.BytesIO()
    both.save(written, "PNG")
    compare("picture", written.getvalue(), HERE.parent.parent / "docs")


async def test_read_again_asks_our_tool_through_the_host(demo: PortalInProcess) -> None:
    async with hosting(demo) as host:
        await host.open()
        await host.show_call("get_directory_usage", entityId="DEAL_STAGE")
        before = await host.frame.locator("li .count").first.inner_text()
        new = [deal for deal in demo.portal.store.records.of(2) if deal["stageId"] == "NEW"]
        del demo.portal.store.records.all[2, new[0]["id"]]
        await host.frame.get_by_role("button", name="Read again").click()
        await host.frame.wait_for_function("old => document.querySelector('li .count').textContent !== old", arg=before)
        assert host.called == ["get_directory_usage"]
        demo.order(method="batch", code="ACCESS_DENIED", status=403, times=5)
        demo.order(method="crm.status.entity.items", code="ACCESS_DENIED", status=403, times=5)
        await host.frame.get_by_role("button", name="Read again").click()
        assert "CRM" in await host.frame.get_by_role("alert").inner_text()


async def test_by_keyboard_alone(demo: PortalInProcess) -> None:
    async with hosting(demo) as host:
        await host.open()
        await host.show_call("get_directory_usage", entityId="DEAL_STAGE")
        await host.frame.evaluate("document.querySelector('main button').focus()")
        await host.page.keyboard.press("Space")
        assert await host.frame.locator(".code").first.is_visible()
        await host.page.keyboard.press("Tab")
        await host.page.keyboard.press("Tab")
        await host.page.keyboard.press("Enter")
        opened = host.frame.locator("li button[aria-expanded=true]")
        assert await opened.count() == 1
        assert "Records of" in await host.frame.locator("li div:visible ul").first.locator("..").inner_text()
        assert await host.violations() == []


async def test_codes_show_under_the_mouse(demo: PortalInProcess) -> None:
    async with hosting(demo) as host:
        await host.open()
        await host.show_call("get_directory_usage", entityId="DEAL_STAGE")
        code = host.frame.locator(".code").nth(2)
        assert not await code.is_visible()
        await host.frame.locator("ol > li").nth(2).hover()
        assert await code.is_visible()


@pytest.mark.parametrize("width", [320, 640])
async def test_hostile_names_are_text(demo: PortalInProcess, width: int) -> None:
    """Bypasses our server, which would cut and clean the names: the page must not need that."""
    items = [
        {
            "statusId": name,
            "name": name,
            "count": 3,
            "color": name,
            "semantics": name,
            "ids": {name: [1]},
            "fields": {name: 3},
        }
        for name in HOSTILE
    ]
    unknown = [{"code": name, "field": name, "count": 1, "ids": [1]} for name in HOSTILE]
    used = {
        "kind": "usage",
        "entityId": HOSTILE[0],
        "fields": HOSTILE,
        "items": items,
        "unknown": unknown,
        "partial": HOSTILE,
    }
    marked = [item | {"marks": ["renamed", "moved"], "was": item["name"]} for item in items]
    refused = [{"name": name, "why": name} for name in HOSTILE]
    planned = {"kind": "plan", "entityId": HOSTILE[1], "before": items, "after": marked, "refused": refused}
    async with hosting(demo, width) as host:
        await host.open()
        for drawn in (used, planned):
            await host.show({"content": [], "_meta": {PICTURE: drawn}})
            assert HOSTILE[0] in await host.frame.inner_text("main")
            assert await host.frame.locator("main script, main img, main svg, main iframe, main style").count() == 0
            assert not await host.overflows()
            assert await host.violations() == []
        await host.show({"isError": True, "content": [{"type": "text", "text": HOSTILE[1]}]})
        assert HOSTILE[1] in await host.frame.inner_text("main")
        assert [await frame.title() for frame in host.page.frames] == ["host", "Bitrix24 directory"]
        assert await host.page.evaluate("window.harmed") is None


@pytest.mark.parametrize(("locale", "name"), [("de-DE", GERMAN), ("ar-EG", ARABIC), ("ru-RU", "Подготовка документов")])
async def test_languages(demo: PortalInProcess, locale: str, name: str) -> None:
    for item in demo.portal.store.of("DEAL_STAGE")[1:4]:
        demo.portal.store.items[item.id] = type(item)(**{**vars(item), "name": name})
    async with hosting(demo, 320) as host:
        await host.open(locale=locale)
        await host.show_call("get_directory_usage", entityId="DEAL_STAGE")
        assert not await host.overflows()
        assert await host.violations() == []
        compare(f"usage-{locale}", await screenshot_whole(host))


@pytest.mark.parametrize("width", [320, 800])
async def test_the_report_of_a_person(demo: PortalInProcess, width: int, tmp_path: Path) -> None:
    """The file of `report --html`, drawn with the picture's colours and bars."""
    written = tmp_path / "report.html"
    program = [sys.executable, "-m", "bitrix24_directories", "report", "--demo", "DEAL_STAGE", "contact.SOURCE_ID"]
    await anyio.run_process([*program, "--html", str(written)], env=os.environ | {"BITRIX24_LANG": "en"}, check=False)
    async with hosting(demo, width) as host:
        await host.page.goto(written.as_uri())
        assert (
            await host.page.evaluate("getComputedStyle(document.querySelector('.bar')).backgroundColor")
            == "rgb(57, 168, 239)"
        )
        assert await host.violations() == []
        assert not await host.overflows()


BROKEN_WORDS = """() => {
  const broken = [], walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node; (node = walker.nextNode()); )
    for (const { index, 0: word } of node.data.matchAll(/\\S+/g)) {
      const range = document.createRange();
      range.setStart(node, index);
      range.setEnd(node, index + word.length);
      if (new Set([...range.getClientRects()].map(({ top }) => Math.round(top))).size > 1) broken.push(word);
    }
  return broken;
}"""


@pytest.mark.parametrize("width", [320, 390, 800])
async def test_the_report_breaks_no_word_and_its_bars_line_up(
    demo: PortalInProcess, width: int, tmp_path: Path
) -> None:
    written = tmp_path / "report.html"
    program = [sys.executable, "-m", "bitrix24_directories", "report", "--demo", "--html", str(written)]
    await anyio.run_process(program, env=os.environ | {"BITRIX24_LANG": "en"}, check=False)
    async with hosting(demo, width) as host:
        await host.page.goto(written.as_uri())
        assert await host.page.evaluate(BROKEN_WORDS) == []
        bars = await host.page.evaluate(
            "[...document.querySelectorAll('.s .bar')].map((bar) => [bar.getBoundingClientRect().left,"
            " bar.parentElement.getBoundingClientRect().width, parseFloat(bar.style.width),"
            " bar.getBoundingClientRect().width])"
        )
        assert len(bars) > 50
        assert len({round(left) for left, *_ in bars}) == 1
        for _, whole, share, drawn in bars:
            assert abs(whole * share / 100 - drawn) <= 2.5
        assert not await host.overflows()
        assert await host.violations() == []
        await host.page.screenshot(path=INSTALLED / f"report-{width}.png")


async def test_the_page_keeps_to_the_hosts_protocol(demo: PortalInProcess) -> None:
    errors: list[str] = []
    async with hosting(demo) as host:
        host.page.on("pageerror", lambda error: errors.append(str(error)))
        host.page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
        await host.open(theme="dark")
        await host.show({"content": [{"type": "text", "text": "Nothing here"}]})
        assert await host.frame.inner_text("main") == "Nothing here"
        await host.show_call("get_directory_usage", entityId="SOURCE")
        await host.frame.wait_for_selector("li")
        await host.page.evaluate("change_context({theme: 'light', locale: 'ru'})")
        await host.frame.wait_for_function("document.documentElement.dataset.theme === 'light'")
        assert "Показать коды" in await host.frame.inner_text("main")
        await host.page.wait_for_function("sizes.length > 0 && sizes.at(-1).height > 200")
        await host.page.evaluate("close_picture()")
    assert errors == []

"""Finding, one rule at a time: what is sure, what never is, and what is shown to choose from."""

from __future__ import annotations

from typing import Any

import pytest

from bitrix24_directories.directories.models import Directory, Item
from bitrix24_directories.finding.languages import LANGUAGES
from bitrix24_directories.finding.matching import Matcher
from bitrix24_directories.portal import DemoPortal
from support import PortalInProcess, RunningPortal, Said, ask


def sure(query: str, *names: str) -> str | None:
    """The name of the one item that `query` is surely meant for, among items with these names."""
    items = [Item(status_id=f"UC_{place}", name=name, sort=place) for place, name in enumerate(names)]
    result = Matcher([(Directory(entity_id="ANY", name="Any", kind="list"), items)]).find(query)
    return result.matches[0].name if result.status in ("exact", "likely") else None


@pytest.mark.parametrize(
    ("query", "name", "others"),
    [
        ("second call", "2nd call", ["1st call"]),
        ("segunda sesión", "Sesión 2", ["Sesión 1"]),
        ("50 percent", "50 %", ["30 %"]),
        ("yüzde 50", "%50", ["%30"]),
        ("Parcela 3 de 3", "Parcela 3/3", ["Parcela 1/3", "Parcela 2/3"]),
        ("cuota dos de tres", "Cuota 2 de 3", ["Cuota 1 de 3", "Cuota 3 de 3"]),
        ("twenty five percent off", "25% off", ["20% off", "5% off"]),
        ("no. 2 contract", "Contract 2", ["Contract 1"]),
        ("1.500 Teile", "1500 Teile", ["500 Teile"]),
        ("more than 30 days", "over 30 days", ["up to 30 days"]),
        ("bis zu 30 Tage", "bis 30 Tage", ["über 30 Tage"]),
        ("дог. подписан", "Договор подписан", ["Договор не подписан"]),
        ("эл. почта", "Электронная почта", ["Почта России"]),
        ("КП отправлено", "Коммерческое предложение отправлено", ["Договор отправлен"]),
        ("коммерческое предложение отправлено", "КП отправлено", ["Договор отправлен"]),
        ("ghjhf,", "Прораб", ["Архитектор"]),
        ("дщые", "Lost", ["Won"]),
        ("не дозвонились", "Недозвон", ["Дозвон"]),
        ("unqualifiziert", "Nicht qualifiziert", ["Qualifiziert"]),
        ("wasn't reached", "Not reached", ["Reached"]),
        ("неподписан", "Не подписан", ["Подписан"]),
        ("sapasyz", "Сапасыз", ["Сапалы"]),
        ("dohovir pidpysano", "Договір підписано", ["Зразок відправлено"]),
        ("Waitin for prts", "Waiting for parts", ["Waiting for payment"]),
        ("put the deal into the stage where we've sent the offer", "Offer sent", ["Offer accepted", "New"]),
        ("exhibition", "Show/Exhibition", ["Showroom"]),
        ("we lost this one to a competitor", "Lost to competitor", ["Lost", "Won"]),
        ("umowy podpisane", "Umowa podpisana", ["Umowa wysłana"]),
        ("niestety nie odebrał wczoraj telefonu", "Nie odebrał", ["Odebrał"]),
    ],
)
def test_sure(query: str, name: str, others: list[str]) -> None:
    assert sure(query, name, *others) == name


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("reklama", ["Reklamacja"]),
        ("reklamacja", ["Reklama"]),
        ("teklif gönderilmedi", ["Teklif gönderildi"]),
        ("vize onaylanmadı", ["Vize onaylandı"]),
        ("vize onaylanmadi", ["Vize onaylandı"]),
        ("Erreicht", ["Nicht erreicht"]),
        ("Qualifiziert", ["Nicht qualifiziert"]),
        ("Odebrał", ["Nie odebrał"]),
        ("Качественный лид", ["Некачественный лид"]),
        ("сапалы", ["Сапасыз"]),
        ("төленді", ["Төленбеді"]),
        ("Lost", ["Lost to competitor"]),
        ("Allegro", ["Allegro Lokalnie"]),
        ("facebook", ["Facebook Ads"]),
        ("mail", ["E-mail", "Cold mail"]),
        ("rechazado", ["Rechazado por precio", "Rechazado por horario"]),
        ("not won", ["Won"]),
        ("ne vyigrana", ["Выиграна"]),
        ("not unqualified", ["Unqualified"]),
        ("third call", ["2nd call"]),
        ("30 %", ["50 %"]),
        ("over 30 days", ["up to 30 days"]),
        ("could call", ["Call", "Cold call"]),
        ("client", ["Clients", "Client"]),
        ("three more calls", ["3rd call"]),
        ("sold cold", ["Sold", "Offer"]),
        ("the test ride was booked and then cancelled", ["Test ride booked"]),
        ("waiting for parts, deal lost already", ["Waiting for parts", "Lost"]),
    ],
)
def test_never_sure(query: str, names: list[str]) -> None:
    assert sure(query, *names) is None


def test_a_code_and_a_name_that_contradict_each_other() -> None:
    items = [
        Item(status_id="WEB", name="Telegram", sort=1),
        Item(status_id="UC_1", name="Web", sort=2),
        Item(status_id="EMAIL", name="WhatsApp", sort=3),
    ]
    matcher = Matcher([(Directory(entity_id="SOURCE", name="Sources", kind="list"), items)])
    assert [match.status_id for match in matcher.find("WEB").matches] == ["WEB", "UC_1"]
    assert matcher.find("web").status == "ambiguous"
    assert (matcher.find("EMAIL").status, matcher.find("email").status) == ("exact", "none")
    forms = [Item(status_id="WEBFORM", name="CRM form", sort=1), Item(status_id="UC_1", name="Website form", sort=2)]
    matcher = Matcher([(Directory(entity_id="SOURCE", name="Sources", kind="list"), forms)])
    assert matcher.find("web form").status == "ambiguous"
    assert matcher.find("WEBFORM").status == "exact"


async def find(portal: RunningPortal | PortalInProcess, *queries: str, **arguments: Any) -> Said:
    return await ask(portal, "find_directory_items", queries=list(queries), **arguments)


async def test_what_there_is_to_choose_from_is_said_once(portal: RunningPortal) -> None:
    said = await find(portal, "whatsapp", "telegram", "Website", entityIds=["SOURCE"])
    assert [result["status"] for result in said.structured["results"]] == ["none", "none", "exact"]
    assert list(said.structured["choices"]) == ["SOURCE"]
    assert said.structured["choices"]["SOURCE"][:2] == ["CALL: Call", "EMAIL: E-Mail"]
    assert said.text.count("CALL: Call; EMAIL: E-Mail") == 1
    assert "choose from these what the words mean, or ask" in said.text


async def test_of_all_directories_those_are_shown_in_which_something_near_stands(portal: RunningPortal) -> None:
    said = await find(portal, "won")
    assert list(said.structured["choices"]) == ["DEAL_STAGE", "DEAL_STAGE_1", "DEAL_STAGE_2"]
    said = await find(portal, "whatsapp")
    assert sum(map(len, said.structured["choices"].values())) <= 100


async def test_of_a_long_directory_the_ten_nearest_are_shown() -> None:
    portal = PortalInProcess(DemoPortal())
    for number in range(70):
        portal.portal.store.add("INDUSTRY", f"CODE_{number}", f"Branch {number}", sort=1000 + number)
    said = await find(portal, "branch office", "unicorn", entityIds=["INDUSTRY"])
    near, none = said.structured["results"]
    assert (near["status"], len(near["matches"])) == ("none", 10)
    assert none["matches"] == []
    assert "choices" not in said.structured


@pytest.mark.parametrize("name", sorted(LANGUAGES))
def test_the_file_of_a_language(name: str) -> None:
    """What a speaker may have got wrong: an unknown kind of line, capitals, a stemmer that does not exist."""
    kinds = {"filler", "negations", "negations beside others", "number signs", "percent", "ordinal endings"}
    for what, phrases in LANGUAGES[name].phrases.items():
        kind, _, of = what.partition(" ")
        assert what in kinds or (kind in ("concept", "called") and of) or (kind in ("number", "ordinal") and int(of))
        assert all(word == word.lower() and word for phrase in phrases for word in phrase)
    assert LANGUAGES[name].stem("word")

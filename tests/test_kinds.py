"""Names of kinds of records as people and models use them.

They appear in `entity` of check_record, and before the dot of a field.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from bitrix24_directories.directories.fields.fields import KIND_NAMES, TYPE_NAMES, folded
from support import RunningPortal, ToolAnswer, ask

KINDS = {
    1: "lead Leads лид лиды лід ліди prospecto prospectos prospect prospects potencjalny_klient müşteri_adayı",
    2: (
        "deal opportunity Opportunities сделка Сделки угода угоди Aufträge Geschäft negociación Negociaciones "
        "oportunidad transaction Transactions opportunité negócio negócios oportunidade transakcja Transakcje "
        "trattativa affari opportunità anlaşma anlaşmalar fırsat"
    ),
    3: "contact contacts контакт контакты контакти Kontakte contacto contatos Kontakty contatti kişi kişiler",
    4: (
        "companies компания компании компанія компанії Unternehmen Firmen empresa Empresas compañía entreprises "
        "société firma firmy azienda aziende şirket şirketler"
    ),
    7: (
        "quotes estimate estimates offer offers proposal proposals предложение предложения коммерческое_предложение "
        "пропозиція пропозиції Angebot Angebote cotización presupuestos devis orçamento propostas oferta oferty "
        "preventivo preventivi teklif teklifler"
    ),
    31: (
        "invoices smart_invoice SMART_INVOICE счёт счет счета рахунок рахунки Rechnung Rechnungen factura facturas "
        "facture factures fatura faturas faktura faktury fattura fatture faturalar"
    ),
}
NUMBERED = (
    "177",
    "SPA 177",
    "smart process 177",
    "Smart-process #177",
    "DYNAMIC_177",
    "dynamic_177",
    "item(177)",
    "item 177",
    "type 177",
    "entityTypeId 177",
    "entityTypeId=177",
    "entity_type_id: 177",
    "смарт-процесс 177",
    "equipment RENTAL",
    "Equipment rental (177)",
    "equipment rental 177",
    "Equipment rental #177",
)


def rename(portal: RunningPortal, title: str, *aliases: str) -> None:
    """Rename the demo portal's smart process, and add some more, numbered from 178."""
    records = portal.portal.store.records
    kind = records.types[177]
    added = {
        number: replace(kind, id=number, name=other, symbol=f"DYNAMIC_{number}")
        for number, other in enumerate(aliases, 178)
    }
    records.types = records.types | {177: replace(kind, name=title)} | added


async def kind(portal: RunningPortal, entity: Any) -> ToolAnswer:
    return await ask(portal, "check_record", entity=entity, fields={"title": "x"})


@pytest.mark.parametrize(
    ("entity", "number"),
    [(name.replace("_", " "), number) for number, names in KINDS.items() for name in names.split()]
    + [(name, 177) for name in NUMBERED]
    + [("type 2", 2), ("deal (2)", 2), ("SMART_INVOICE", 31)],
)
async def test_names_of_kinds(portal: RunningPortal, entity: str, number: int) -> None:
    assert (await kind(portal, entity)).structured["entityTypeId"] == number


@pytest.mark.parametrize(
    "entity", ["deal (177)", "Equipment rental (2)", "SPA 999", "Equipment rental (999)", "type 5"]
)
async def test_a_number_that_is_no_kinds_or_anothers(portal: RunningPortal, entity: str) -> None:
    result = await kind(portal, entity)
    assert result.error["code"] == "UNKNOWN_RECORD_TYPE"
    assert result.text.startswith(f'There is no record type "{entity}" (UNKNOWN_RECORD_TYPE).\n')


@pytest.mark.parametrize(
    ("title", "entity", "numbers"),
    [
        ("Opportunity", "Opportunity", [177]),
        ("Opportunity", "opportunity", [2, 177]),
        ("Opportunity", "opportunities", [2, 177]),
        ("Opportunity", "сделка", [2, 177]),
        ("Opportunity", "deals", [2]),
        ("Opportunity", "offers", [7]),
        ("Offers", "Estimate", [7]),
        ("Offers", "ESTIMATE", [7]),
        ("Opportunity", "Opportunity (177)", [177]),
        ("Opportunity", "Opportunity (2)", [2]),
        ("Deals", "Deals", [2, 177]),
        ("Deals", "deals", [2, 177]),
        ("Deals", "deal", [2]),
        ("Deals", "177", [177]),
        ("Deals", "Deals (177)", [177]),
        ("Deal", "Deal", [2, 177]),
        ("Сделки", "Сделки", [177]),
        ("Type 2", "type 2", [2, 177]),
        ("2", "2", [2]),
    ],
)
async def test_titles_of_the_portal_come_first(
    portal: RunningPortal, title: str, entity: str, numbers: list[int]
) -> None:
    rename(portal, title)
    result = await kind(portal, entity)
    if len(numbers) == 1:
        assert result.structured["entityTypeId"] == numbers[0]
    else:
        assert result.text.splitlines()[:2] == [
            f'Several kinds of records are called "{entity}": deal (2), {title} (177) (UNKNOWN_RECORD_TYPE).',
            "Next: Ask the user which of them is meant, unless you know, and call again with its number.",
        ]


def test_no_name_is_that_of_two_kinds() -> None:
    names = [name for called in KIND_NAMES.values() for name in called]
    assert len(names) == len(set(names))
    assert names == [folded(name) for name in names]
    assert {number: called[0] for number, called in KIND_NAMES.items()} == TYPE_NAMES


async def test_titles_that_differ_in_their_letters_alone(portal: RunningPortal) -> None:
    rename(portal, "Rental", "RENTAL", "Repair")
    assert (await kind(portal, "Rental")).structured["entityTypeId"] == 177
    assert (await kind(portal, "RENTAL")).structured["entityTypeId"] == 178
    assert 'are called "rental": Rental (177), RENTAL (178) (' in (await kind(portal, "rental")).text
    assert "or several" not in (await kind(portal, "Renting")).text


@pytest.mark.parametrize(
    ("entity", "first"),
    [
        ("rental", "Equipment rental (177), "),
        ("dael", "deal (2), "),
        ("compny", "company (4), "),
        ("Сделко", "deal (2), "),
    ],
)
async def test_the_nearest_come_first(portal: RunningPortal, entity: str, first: str) -> None:
    result = await kind(portal, entity)
    assert result.text.startswith(f'There is no record type "{entity}" (UNKNOWN_RECORD_TYPE).\n')
    assert f"\nNext: Use one of these, by name or number: {first}" in result.text
    for label in ("deal (2)", "lead (1)", "Equipment rental (177)"):
        assert result.text.count(label) == 1


async def test_of_many_smart_processes_the_nearest_are_named(portal: RunningPortal) -> None:
    rename(portal, "Equipment rental", *(f"Process of department {number}" for number in range(40)), "Warehouse")
    result = await kind(portal, "warehouses")
    assert "by name or number: Warehouse (218), " in result.text
    assert ", and 29 more." in result.text


@pytest.mark.parametrize(
    ("field", "directory"),
    [
        ("opportunity.SOURCE_ID", "SOURCE"),
        ("сделка.SOURCE_ID", "SOURCE"),
        ("Leads.STATUS_ID", "STATUS"),
        ("estimates.STATUS_ID", "QUOTE_STATUS"),
        ("SPA 177.sourceId", "SOURCE"),
        ("smart process 177.Source", "SOURCE"),
        ("Equipment rental (177).sourceId", "SOURCE"),
        ("entityTypeId 177.sourceId", "SOURCE"),
        ("Rechnung.stageId", "SMART_INVOICE_STAGE_3"),
    ],
)
async def test_before_the_dot_of_a_field(portal: RunningPortal, field: str, directory: str) -> None:
    assert (await ask(portal, "get_directory_items", entityId=field)).structured["entityId"] == directory


async def test_a_title_before_the_dot_comes_first(portal: RunningPortal) -> None:
    rename(portal, "Opportunity")
    result = await ask(portal, "get_directory_items", entityId="Opportunity.stageId")
    assert "DYNAMIC_177_STAGE_7" in result.text
    assert "DEAL_STAGE" not in result.text
    result = await ask(portal, "get_directory_items", entityId="opportunity.stageId")
    assert "DYNAMIC_177_STAGE_7" in result.text
    assert "DEAL_STAGE_1" in result.text


async def test_kinds_where_the_portal_does_not_tell_them(portal: RunningPortal) -> None:
    for entity, number in (("opportunities", 2), ("SPA 177", 177), ("type 177", 177)):
        portal.order(method="crm.enum.ownertype", code="ERROR_METHOD_NOT_FOUND", status=404)
        assert (await kind(portal, entity)).structured["entityTypeId"] == number

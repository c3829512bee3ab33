"""Types of CRM records and their fields, as `crm.item.fields` and old methods show them.

Imports only `store`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from .store import Directory, Store


@dataclass(frozen=True)
class Field:
    """One field: its name in new methods (`sourceId`) and old ones (`SOURCE_ID`), and its type.

    `upper_name` is the new name as `crm.item.fields` writes it in upper case: the old one, or `other_upper_name`.
    `status_type` is the directory of a `crm_status` field, for stages that of the default pipeline. `choices` are the
    (ID, VALUE) of an enumeration. A `computed` field is not described as read-only, but drops written values. `only`
    marks a field that the other methods do not know.
    """

    name: str
    old_name: str
    kind: str
    title: str
    status_type: str = ""
    choices: tuple[tuple[str, str], ...] = ()
    required: bool = False
    read_only: bool = False
    immutable: bool = False
    multiple: bool = False
    computed: bool = False
    only: Literal["", "old", "new"] = ""
    other_upper_name: str = ""

    @property
    def upper_name(self) -> str:
        """Name in upper case with underscores."""
        return self.other_upper_name or self.old_name

    @property
    def custom(self) -> bool:
        """True for a custom field."""
        return self.old_name.startswith("UF_")

    @property
    def is_stage(self) -> bool:
        """True for the stage of a record."""
        return self.name == "stageId"

    @property
    def converts_behind_operators(self) -> bool:
        """True if a filter such as `=ufCrm_1724` is converted to the original name."""
        return not self.custom or _CONVERTIBLE.fullmatch(self.old_name) is not None

    def described(self, *, new: bool) -> dict[str, Any]:
        """Return the row of `crm.item.fields` (new) or of the type's old method."""
        row: dict[str, Any] = {
            "type": self.kind,
            "isRequired": self.required,
            "isReadOnly": self.read_only,
            "isImmutable": self.immutable,
            "isMultiple": self.multiple,
            "isDynamic": self.custom,
            "title": self.title,
        }
        if new:
            row["upperName"] = self.upper_name
        if self.status_type:
            row["statusType"] = self.status_type
        if self.custom and self.kind == "crm_status":
            row["settings"] = {"ENTITY_TYPE": self.status_type}
        if self.choices:
            row["items"] = [{"ID": number, "VALUE": value} for number, value in self.choices]
        return row


@dataclass(frozen=True)
class RecordType:
    """A type of record; `old` is its name in old methods (`deal`), empty without them."""

    id: int
    name: str
    symbol: str
    old: str
    fields: tuple[Field, ...]

    @property
    def has_pipelines(self) -> bool:
        """True if records of this type are in pipelines."""
        return any(field.kind == "crm_category" for field in self.fields)

    def field(self, name: str, *, original: bool = False) -> Field | None:
        """Return the field of a name in `crm.item.*`, custom ones by `original` names if asked."""
        return next((field for field in self.fields if name in _names(field, original) and field.only != "old"), None)

    def stages_of(self, store: Store, category_id: Any) -> Directory | None:
        """Return the directory of a pipeline's stages, or of all stages without pipelines."""
        return next(
            (
                directory
                for directory in store.directories.values()
                if directory.entity_type_id == self.id
                and (directory.category_id is None or str(directory.category_id) == str(category_id))
            ),
            None,
        )


def _names(field: Field, original: bool) -> tuple[str, ...]:
    if field.custom:
        return (field.old_name if original else field.name,)
    return field.name, field.upper_name


_CONVERTIBLE = re.compile(r"UF_CRM_(?:[A-Z_]+|\d+|\d+_(?:\d+|[A-Z]+))")

# A line a field: old name | kind | English | Russian | flags. Flags: ! required, r read-only, c computed, i immutable,
# m multiple, old and new: known to those methods alone, =DIRECTORY.
_COMMON = """
ID | integer | ID | ID | r
TITLE | string | Name | Название |
CREATED_TIME | datetime | Created on | Дата создания | r
ASSIGNED_BY_ID | user | Responsible | Ответственный |
OPENED | boolean | Available to everyone | Доступен для всех | !
"""
_MONEY = """
OPPORTUNITY | double | Amount | Сумма |
CURRENCY_ID | crm_currency | Currency | Валюта |
"""
_PEOPLE = """
ORIGIN_ID | string | External ID | Внешний идентификатор | i
PHONE | crm_multifield | Phone | Телефон | m old
EMAIL | crm_multifield | E-mail | E-mail | m old
WEB | crm_multifield | Website | Сайт | m old
FM | crm_multifield | Phones and addresses | Телефоны и адреса | m new
"""
_TYPES = (
    (1, "Lead", "Лид", "LEAD", "lead", _COMMON + _MONEY + _PEOPLE + """
STAGE_ID | crm_status | Status | Стадия | =STATUS
SOURCE_ID | crm_status | Source | Источник | =SOURCE
HONORIFIC | crm_status | Salutation | Обращение | =HONORIFIC
UF_CRM_1724077700 | crm_status | Partner level | Уровень партнёра | =PARTNER_LEVEL
UF_CRM_5F3A2B1C4D6E7 | crm_status | Size of the company | Размер компании | =EMPLOYEES
"""),
    (2, "Deal", "Сделка", "DEAL", "deal", _COMMON + _MONEY + """
CATEGORY_ID | crm_category | Pipeline | Воронка |
STAGE_ID | crm_status | Stage | Стадия сделки | =DEAL_STAGE
TYPE_ID | crm_status | Type | Тип | =DEAL_TYPE
SOURCE_ID | crm_status | Source | Источник | =SOURCE
BEGINDATE | date | Start date | Дата начала |
CLOSEDATE | date | End date | Дата завершения |
CLOSED | boolean | Closed | Закрыта | c
IS_RETURN_CUSTOMER | boolean | Repeat deal | Повторная сделка | c
COMPANY_ID | crm_company | Company | Компания |
COMMENTS | string | Comment | Комментарий |
UF_CRM_1724077760 | crm_status | Second source | Второй источник | =SOURCE
UF_CRM_1724077761 | crm_status | Industries concerned | Затронутые отрасли | =INDUSTRY m
UF_CRM_1724 | enumeration | Customer size | Размер клиента |
UF_CRM_1725 | boolean | Needs delivery | Нужна доставка |
UF_CRM_1726 | date | Inspection on | Дата осмотра |
UF_CRM_1727 | enumeration | Extras | Дополнительно | m
UF_CRM_1728 | integer | Number of boxes | Количество коробок |
UF_CRM_1729 | datetime | Call back at | Перезвонить |
UF_CRM_1730 | string | Serial numbers | Серийные номера | m
UF_CRM_1731 | integer | Pallets by lorry | Паллеты по машинам | m
"""),
    (3, "Contact", "Контакт", "CONTACT", "contact", _COMMON + _PEOPLE + """
NAME | string | First name | Имя |
LAST_NAME | string | Last name | Фамилия | !
TYPE_ID | crm_status | Contact type | Тип контакта | =CONTACT_TYPE
SOURCE_ID | crm_status | Source | Источник | =SOURCE
HONORIFIC | crm_status | Salutation | Обращение | =HONORIFIC
"""),
    (4, "Company", "Компания", "COMPANY", "company", _COMMON + _PEOPLE + """
COMPANY_TYPE | crm_status | Company type | Тип компании | =COMPANY_TYPE
INDUSTRY | crm_status | Industry | Сфера деятельности | =INDUSTRY
EMPLOYEES | crm_status | Employees | Количество сотрудников | =EMPLOYEES
"""),
    (7, "Estimate", "Предложение", "QUOTE", "quote", _COMMON + _MONEY + """
STAGE_ID | crm_status | Status | Статус | =QUOTE_STATUS
"""),
    (31, "Invoice", "Счёт", "SMART_INVOICE", "", _COMMON + _MONEY + """
CATEGORY_ID | crm_category | Pipeline | Воронка |
STAGE_ID | crm_status | Stage | Стадия | =SMART_INVOICE_STAGE_3
PREVIOUS_STAGE_ID | crm_status | Previous stage | Предыдущая стадия | r =SMART_INVOICE_STAGE_3
SOURCE_ID | crm_status | Source | Источник | =SOURCE
"""),
    (36, "Document", "Документ", "SMART_DOCUMENT", "", _COMMON + """
CATEGORY_ID | crm_category | Pipeline | Воронка |
"""),
    (177, "Equipment rental", "Аренда оборудования", "DYNAMIC_177", "", _COMMON + """
CATEGORY_ID | crm_category | Pipeline | Воронка |
STAGE_ID | crm_status | Stage | Стадия | =DYNAMIC_177_STAGE_7
PREVIOUS_STAGE_ID | crm_status | Previous stage | Предыдущая стадия | r =DYNAMIC_177_STAGE_7
SOURCE_ID | crm_status | Source | Источник | =SOURCE
UF_CRM_44_1724 | boolean | With operator | С оператором |
"""),
)  # fmt: skip

# ID, English, Russian.
_CHOICES = {
    "UF_CRM_1724": (
        ("77", "Small customers", "Малые клиенты"),
        ("78", "Middle", "Средние"),
        ("79", "Large customers", "Крупные клиенты"),
    ),
    "UF_CRM_1727": (("90", "Insurance", "Страховка"), ("91", "Delivery", "Доставка"), ("92", "Assembly", "Сборка")),
}

# Names in old methods of fields with another name in new ones.
_OLD_NAMES = {(1, "STAGE_ID"): "STATUS_ID", (7, "STAGE_ID"): "STATUS_ID"}
_NEW_NAMES = {"COMPANY_TYPE": "typeId"}
_UPPER_NAMES = {"COMPANY_TYPE": "TYPE_ID"}


def record_types(column: int) -> dict[int, RecordType]:
    """Return all record types by id, with titles in English (column 0) or Russian (1)."""
    return {
        number: RecordType(number, names[column], symbol, old, tuple(_fields(number, table, column)))
        for number, *names, symbol, old, table in _TYPES
    }


def _fields(number: int, table: str, column: int) -> Iterator[Field]:
    for line in filter(None, table.splitlines()):
        upper, kind, *titles, marks = (cell.strip() for cell in line.split("|"))
        flags = marks.split()
        yield Field(
            name=_NEW_NAMES.get(upper) or _new_name(upper),
            old_name=_OLD_NAMES.get((number, upper), upper),
            kind=kind,
            title=titles[column],
            status_type=next((flag[1:] for flag in flags if flag.startswith("=")), ""),
            choices=tuple((choice, values[column]) for choice, *values in _CHOICES.get(upper, ())),
            required="!" in flags,
            read_only="r" in flags,
            immutable="i" in flags,
            multiple="m" in flags,
            computed="c" in flags,
            other_upper_name=_UPPER_NAMES.get(upper, upper),
            only="old" if "old" in flags else "new" if "new" in flags else "",
        )


def _new_name(upper: str) -> str:
    """Convert `SOURCE_ID` to `sourceId`, and `UF_CRM_44_1724` to `ufCrm44_1724`."""
    if custom := re.fullmatch(r"UF_CRM_(?:(\d{1,3})_)?(\w+)", upper):
        return f"ufCrm{custom[1] or ''}_{custom[2].lower()}"
    first, *rest = upper.lower().split("_")
    return first + "".join(other.capitalize() for other in rest)

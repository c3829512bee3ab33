"""The portal's kinds of records and their fields, by name, with the codes that they take.

Pure: calls nothing.
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from bitrix24_directories.directories.entity_ids import entity_type_of
from bitrix24_directories.directories.models import Directory, Item
from bitrix24_directories.directories.reading.cache import Cached
from bitrix24_directories.text import without_joiners

TYPE_NAMES = {2: "deal", 1: "lead", 3: "contact", 4: "company", 7: "quote", 31: "invoice", 36: "document"}
"""Built-in kinds of records by `entityTypeId`, in the order of texts."""

OLD_METHODS = frozenset((1, 2, 3, 4, 7))
"""Types with their own methods beside `crm.item.*` and other field names: `crm.deal.add`."""

FIRST_SMART_PROCESS = 128

# Singular and plural in English, Russian, Ukrainian, German, Spanish, French, Portuguese, Polish, Italian and
# Turkish, as Bitrix24 and people call them.
_NAMES = {
    1: "lead, leads; лид, лиды; лід, ліди; prospecto, prospectos; prospect, prospects; leady; potencjalny klient; "
    "müşteri adayı, müşteri adayları",
    2: "deal, deals, opportunity, opportunities; сделка, сделки; угода, угоди; auftrag, aufträge, geschäft, geschäfte; "
    "negociación, negociaciones, oportunidad, oportunidades; transaction, transactions, affaire, affaires, "
    "opportunité, opportunités; negócio, negócios, oportunidade; deale, transakcja, transakcje; affare, affari, "
    "trattativa, trattative, opportunità; anlaşma, anlaşmalar, fırsat, fırsatlar",
    3: "contact, contacts; контакт, контакты; контакти; kontakt, kontakte; contacto, contactos; contato, contatos; "
    "kontakty; contatto, contatti; kişi, kişiler",
    4: "company, companies; компания, компании; компанія, компанії; unternehmen, firma, firmen; compañía, compañías, "
    "empresa, empresas; entreprise, entreprises, société, sociétés; firmy; azienda, aziende, società; "
    "şirket, şirketler",
    7: "quote, quotes, quotation, quotations, estimate, estimates, offer, offers, proposal, proposals; предложение, "
    "предложения, коммерческое предложение, коммерческие предложения; пропозиція, пропозиції, комерційна пропозиція; "
    "angebot, angebote; cotización, cotizaciones, presupuesto, presupuestos, propuesta, propuestas; devis; orçamento, "
    "orçamentos, proposta, propostas; oferta, ofertas, oferty; preventivo, preventivi, offerta, offerte; teklif, "
    "teklifler",
    31: "invoice, invoices, smart invoice, smart invoices; счёт, счета, счет; рахунок, рахунки; rechnung, rechnungen; "
    "factura, facturas; facture, factures; fatura, faturas; faktura, faktury; fattura, fatture; faturalar",
    36: "document, documents",
}

KIND_NAMES = {type_id: tuple(names.replace(";", ",").split(", ")) for type_id, names in _NAMES.items()}
"""Common names of the built-in kinds of records by `entityTypeId`, in lower case; this program uses the first two."""

# Fields that take a directory's codes on every portal: (directory, type, field). No method describes the last two.
_EVERYWHERE = (
    ("STATUS", 1, "lead.STATUS_ID"),
    ("DEAL_STAGE", 2, "deal.STAGE_ID"),
    ("QUOTE_STATUS", 7, "quote.STATUS_ID"),
    ("SOURCE", 2, "deal.SOURCE_ID"),
    ("SOURCE", 1, "lead.SOURCE_ID"),
    ("SOURCE", 3, "contact.SOURCE_ID"),
    ("DEAL_TYPE", 2, "deal.TYPE_ID"),
    ("CONTACT_TYPE", 3, "contact.TYPE_ID"),
    ("COMPANY_TYPE", 4, "company.COMPANY_TYPE"),
    ("INDUSTRY", 4, "company.INDUSTRY"),
    ("EMPLOYEES", 4, "company.EMPLOYEES"),
    ("HONORIFIC", 1, "lead.HONORIFIC"),
    ("HONORIFIC", 3, "contact.HONORIFIC"),
    ("CALL_LIST", 0, "call list status"),
    ("INVOICE_STATUS", 0, "invoice.STATUS_ID"),
)
NOT_READ = frozenset(path for _, kind, path in _EVERYWHERE if not kind)
"""Fields of records that no REST method reads."""

BUILT_IN = tuple(dict.fromkeys(entity_id for entity_id, _, _ in _EVERYWHERE))
"""The directories that every portal has, or may have."""

_NUMBERED = re.compile(
    r"(?P<loose>(?:smart[ _-]process(?:es)?|spa|смарт[ -]?процесс|(?:entity[ _]?)?type(?:[ _]?id)?)[\W_]*)?"
    r"(?:dynamic_|item[( ])?(?P<number>[0-9]{1,9})\)?"
)
_WITH_NUMBER = re.compile(r"(?P<name>.+?)[\s(#№]+(?P<number>[0-9]{1,9})\)?")
_TITLED = re.compile(r"(?P<path>.*\S)\s+\(.*\)", re.DOTALL)


@dataclass(frozen=True)
class RecordType:
    """A kind of record: `entityTypeId`, title in the portal's language, `DYNAMIC_177` or so."""

    id: int
    title: str = ""
    symbol: str = ""

    @property
    def key(self) -> str:
        """The part of a field's path before the dot: `deal`, or `item(177)` for items of REST."""
        return TYPE_NAMES[self.id] if self.id in OLD_METHODS else f"item({self.id})"

    @property
    def shown(self) -> str:
        """Name of one record of this kind in texts."""
        return TYPE_NAMES.get(self.id) or self.title or self.key

    @cached_property
    def names(self) -> frozenset[str]:
        """All names of the kind, in lower case."""
        called = (self.key, f"item({self.id})", str(self.id), self.symbol, self.title, *KIND_NAMES.get(self.id, ()))
        return frozenset(folded(text) for text in called if text)


@dataclass(frozen=True, slots=True)
class Field:
    """A field: `name` in `crm.item.*` (stageId), `old_name` in `crm.deal.*` (STAGE_ID).

    Either name is empty if those methods lack the field. `original` is a custom field's own name
    (UF_CRM_5F3A2B1C4D6E7): only `crm.item.*` with `useOriginalUfNames` reads it, and filters need it, because not every
    name leads back from `ufCrm_5f3a2b1c4d6e7`. `directories` are those of a `crm_status` field, for stages only that of
    the default pipeline; `choices` are those of an enumeration, with the ID in `status_id`.
    """

    name: str
    old_name: str
    kind: str
    title: str
    directories: tuple[str, ...] = ()
    choices: tuple[Item, ...] = ()
    required: bool = False
    read_only: bool = False
    immutable: bool = False
    multiple: bool = False
    original: str = ""
    upper_name: str = ""
    """A built-in field's name in upper case, which `crm.item.*` reads as well: of a lead's stage STAGE_ID."""

    @property
    def custom(self) -> bool:
        """True for a custom field."""
        return (self.original or self.old_name).startswith("UF_")

    @property
    def is_stage(self) -> bool:
        """True for the stage of a record."""
        return self.name == "stageId"


@dataclass(frozen=True, slots=True)
class FieldOf:
    """A field of a kind of record."""

    type: RecordType
    field: Field

    @property
    def path(self) -> str:
        """`deal.STAGE_ID`, `item(177).stageId`."""
        spelt = self.field.old_name if self.type.id in OLD_METHODS else self.field.name
        return f"{self.type.key}.{spelt or self.field.name}"

    @property
    def takes_codes(self) -> bool:
        """True if the field takes codes of a directory or has values of its own."""
        return self.field.is_stage or bool(self.field.directories or self.field.choices)

    def takes(self, directory: Directory) -> bool:
        """True if its codes are those of a directory, or of the enumeration that it holds itself."""
        if self.field.is_stage:
            return directory.entity_type_id == self.type.id
        return directory.entity_id in self.field.directories or directory.entity_id == self.path

    @property
    def shown(self) -> str:
        """The path, with the title of a custom field."""
        return f"{self.path} ({self.field.title})" if self.field.custom and self.field.title else self.path


class Enumeration(NamedTuple):
    """The values of a custom field, as a directory under the field's path."""

    directory: Directory
    values: Cached[Item]


class FieldMap:
    """All kinds of records of a portal, with their fields; none for those that cannot be read.

    `enumerations` holds by path the lists of custom fields themselves. `read_at` is the time of the oldest part.
    """

    def __init__(
        self, types: Sequence[RecordType], fields: Mapping[int, Sequence[Field]], read_at: float = math.inf
    ) -> None:
        order = [*TYPE_NAMES]
        self.types = sorted(types, key=lambda kind: (order.index(kind.id) if kind.id in order else len(order), kind.id))
        self.read_at = read_at
        self._fields = fields
        self._takes: defaultdict[str | int, list[str]] = defaultdict(list)  # by directory, stages by type
        for record_field in self.all():
            for taken in [record_field.type.id] if record_field.field.is_stage else record_field.field.directories:
                if not record_field.field.read_only:
                    self._takes[taken].append(record_field.shown)
        self.enumerations = {
            record_field.path: Enumeration(
                Directory(
                    entity_id=record_field.path, name=field.title, kind="enumeration", used_in=[record_field.shown]
                ),
                Cached(list(field.choices), read_at),
            )
            for record_field in self.all()
            if (field := record_field.field).choices
        }

    def all(self) -> Iterator[FieldOf]:
        """Every field, in the order of types."""
        for kind in self.types:
            for field in self._fields.get(kind.id, ()):
                yield FieldOf(kind, field)

    def unread(self) -> list[RecordType]:
        """The types whose fields could not be read."""
        return [kind for kind in self.types if not self._fields.get(kind.id)]

    def used_in(self, entity_id: str, entity_type_id: int | None) -> list[str] | None:
        """Return the fields that take a directory's codes; `entity_type_id` is its stages' type.

        The fields of every portal replace those of types that cannot be read.
        """
        paths = [*self._takes.get(entity_id, [])]
        if entity_type_id is not None:
            paths += self._takes.get(entity_type_id, [])
            if not self._fields.get(entity_type_id):  # use the stage field of every portal
                if entity_type_id in OLD_METHODS:
                    paths += [path for _, kind, path in _EVERYWHERE if kind == entity_type_id][:1]
                elif entity_id not in BUILT_IN:
                    paths.append(f"item({entity_type_id}).stageId")
        unread = (path for id_, kind, path in _EVERYWHERE if id_ == entity_id and not self._fields.get(kind))
        return [*dict.fromkeys([*paths, *unread])] or None

    def named(self, text: str) -> list[FieldOf]:
        """Return the fields that a text means: `type.field`, or a field's title or name alone.
        Type and field are each a name or a title. With a type, names come before titles."""
        titled = _TITLED.fullmatch(text)
        paths = (text, *([titled["path"]] if titled else []))
        for path in paths:
            parts = path.split(".")
            for index in range(1, len(parts)):
                right = ".".join(parts[index:]).strip()
                kinds = called(".".join(parts[:index]), self.types)
                inside = [FieldOf(kind, field) for kind in kinds for field in self._fields.get(kind.id, ())]
                name = folded_name(right)
                spelt = ((match, map(folded_name, (match.field.name, match.field.old_name))) for match in inside)
                matches = [match for match, names in spelt if name and name in names]
                matches = matches or [match for match in inside if folded(match.field.title) == folded(right)]
                if matches:
                    return matches
        by_title, by_name = self._by_title_and_name
        by_names = (by_name.get(path.strip().casefold()) or by_name.get(folded_name(path)) for path in paths)
        return by_title.get(folded(text)) or next(filter(None, by_names), [])

    @cached_property
    def _by_title_and_name(self) -> tuple[Mapping[str, list[FieldOf]], Mapping[str, list[FieldOf]]]:
        """Return the fields by title, and by every name in lower case and without underscores."""
        by_title: defaultdict[str, list[FieldOf]] = defaultdict(list)
        by_name: defaultdict[str, list[FieldOf]] = defaultdict(list)
        for record_field in self.all():
            field = record_field.field
            by_title[folded(field.title)].append(record_field)
            names = {name for name in (field.name, field.old_name, field.original) if name}
            for key in {*map(str.casefold, names), *map(folded_name, names)}:
                by_name[key].append(record_field)
        by_title.pop("", None)
        return by_title, by_name


def called(text: str, types: Sequence[RecordType]) -> list[RecordType]:
    """Return the types that a text means by number, name or title; several if it is ambiguous.

    A title in this very spelling comes before a common name of another kind, unless that is this program's own name for
    it.
    """
    name = folded(text)
    numbered = _NUMBERED.fullmatch(name)
    matches = [kind for kind in types if numbered and kind.id == int(numbered["number"])]
    if numbered and matches and not numbered["loose"]:
        return matches
    matches += [kind for kind in types if name in kind.names and kind not in matches]
    if not matches and (both := _WITH_NUMBER.fullmatch(name)):
        return [kind for kind in types if both["name"] in kind.names and kind.id == int(both["number"])]
    spelt_so = [kind for kind in matches if kind.title == text.strip()]
    ours = [kind for kind in matches if name in KIND_NAMES.get(kind.id, ())[:2]]
    if len(spelt_so) == 1 and all(kind in spelt_so for kind in ours):
        return spelt_so
    if (
        len(matches) == 1
        and name in KIND_NAMES.get(matches[0].id, ())
        and not ours
        and folded(matches[0].title) != name
    ):
        alike = KIND_NAMES[matches[0].id]  # `opportunities`, if a smart process is titled Opportunity
        matches += [kind for kind in types if folded(kind.title) in alike and kind not in matches]
    return matches


def number_in(text: str) -> int | None:
    """Return the `entityTypeId` that a text means without the portal's help."""
    matches = called(text, [RecordType(type_id) for type_id in TYPE_NAMES])
    numbered = _NUMBERED.fullmatch(folded(text))
    return matches[0].id if matches else int(numbered["number"]) if numbered else None


def bare_directory(entity_id: str) -> Directory:
    """Return a directory made from its id alone."""
    entity_type_id = entity_type_of(entity_id)
    return Directory(
        entity_id=entity_id,
        name=entity_id,
        kind="list" if entity_type_id is None else "stages",
        used_in=NOTHING_READ.used_in(entity_id, entity_type_id),
        entity_type_id=entity_type_id,
    )


def folded(text: str) -> str:
    """Return a name with folded case and blanks, for comparisons."""
    return " ".join(without_joiners(text).casefold().split())


def folded_name(name: str) -> str:
    """Return a field name in lower case without underscores and blanks, for comparisons."""
    return "".join(name.replace("_", "").split()).casefold()


NOTHING_READ = FieldMap([], {})
"""The fields of every portal."""

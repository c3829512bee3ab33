"""Common names for the fields of most records, besides their own names and titles. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence

from bitrix24_directories.directories.fields.fields import Field, folded_name

MULTIFIELDS = {"phone": "PHONE", "email": "EMAIL", "web": "WEB", "im": "IM"}
"""Fields of phones and the like by alias: the `typeId` of their rows, also the old name of the field."""

# A field (its new name, its kind in brackets, or `stage`), and its aliases without blanks and underscores.
_TABLE = """
stage        stage stageid status statusid стадия статус этап стадія етап phase etapa etap fase statut stato durum aşama
[crm_category] category categoryid pipeline pipelineid funnel funnelid воронка направление категория воронка напрямок
[crm_category] trichter embudo entonnoir funil lejek imbuto huni
sourceId     source sourceid leadsource источник джерело quelle fuente origen origine fonte źródło kaynak
currencyId   currency currencyid валюта währung moneda devise moeda waluta valuta parabirimi
typeId       type typeid тип typ tipo tür
opportunity  amount sum сумма сума betrag summe importe montant valor kwota importo tutar
assignedById responsible responsibleid assigned assignedto assignedby assignee ответственный відповідальний
companyId    company companyid компания компанія
contactId    contact contactid контакт
title        title name название назва
comments     comment comments комментарий коментар
phone        phone phones phonenumber tel telephone телефон телефони телефоны
email        email emails mail emailaddress почта пошта
web          web website site url сайт
"""
_ROLES: dict[str, list[str]] = {}
for _line in _TABLE.strip().splitlines():
    for _alias in _line.split()[1:]:
        _ROLES.setdefault(_alias, []).append(_line.split()[0])

_WORDS = re.compile(r"[A-ZÀ-ÞА-ЯЁ]?[a-zß-ÿа-яёіїєґ]+|[^\W_a-zß-ÿа-яё]+")
_NEAREST = 2
_CLOSE = 75
_EVERY_FIELD = frozenset(("id", "uf", "crm", "by", "is", "field", "code", "deal", "lead"))


def called_by_alias(key: str, fields: Sequence[Field]) -> list[Field]:
    """Return the writable fields with this alias: `STAGE`, `Pipeline`, `валюта`."""
    roles = _ROLES.get(folded_name(key), [])
    matches = [field for field in fields if not field.read_only and _role(field) in roles]
    if not matches and multifield_type(key):
        return [field for field in fields if field.name == "fm"]
    return matches


def multifield_type(key: str) -> str:
    """Return the `typeId` of a multifield key's rows, PHONE or EMAIL; empty for other keys."""
    name = folded_name(key)
    return next((MULTIFIELDS[role] for role in [name, *_ROLES.get(name, [])] if role in MULTIFIELDS), "")


def names_of(field: Field) -> tuple[str, str, str]:
    """Return a field's new, old and upper-case name."""
    return field.name, field.old_name, field.upper_name


def nearest_fields(key: str, fields: Sequence[Field]) -> list[Field]:
    """Return fields with a word of the key, then fields with a similar name.

    Words are compared with a field's names, title, directory, kind and aliases.
    """
    from rapidfuzz import fuzz  # only mistakes need it, and it delays the start

    words, spelt = _words(key) - _EVERY_FIELD, key.casefold().replace("_", " ")
    ranked: list[tuple[int, float, Field]] = []
    for field in fields:
        if not field.read_only:
            field_words = _words(" ".join((field.name, field.old_name, field.title, *field.directories)))
            field_words |= set() if field.kind == "crm_status" else _words(field.kind)
            alike = sum(word in field_words or _role(field) in _ROLES.get(word, ()) for word in words)
            names = (name.casefold().replace("_", " ") for name in (*names_of(field), field.title))
            ranked.append((alike, max(fuzz.WRatio(spelt, name) for name in names), field))
    ranked.sort(key=lambda candidate: candidate[:2], reverse=True)
    return [field for alike, close, field in ranked[:_NEAREST] if alike or close >= _CLOSE]


def _role(field: Field) -> str:
    if field.kind == "crm_category":
        return "[crm_category]"
    if field.kind == "crm_multifield":
        return field.old_name.lower()
    return "stage" if field.is_stage else field.name


def _words(text: str) -> set[str]:
    return {word.casefold() for word in _WORDS.findall(text)}

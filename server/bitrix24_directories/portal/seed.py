"""Initial directories of the demo portal: all built-in ones, in English and in Russian.

Defaults are those of a fresh portal (vendor documentation and server code), with additions as on real portals: extra
pipelines, a smart process, user-made codes, odd names, an empty directory. Imports `record_seed`, `records` and
`store`.
"""

from __future__ import annotations

from typing import Literal

from .record_seed import seed_records
from .records import CrmStore
from .store import Directory, Item, Store

Language = Literal["en", "ru"]

# A line an item: SORT CODE FLAGS | English | Russian | colour. Flags: * system, S success, F failure.
_LEAD = """
10 NEW * | New | Новый | #39A8EF
20 IN_PROCESS - | In Progress | В работе | #2FC6F6
30 PROCESSED - | Processed | Обработан | #55D0E0
40 CONVERTED *S | Good Lead | Качественный лид | #7BD500
50 JUNK *F | Junk Lead | Некачественный лид | #FF5752
"""
_DEAL = """
10 NEW * | New | Новая | #39A8EF
20 PREPARATION - | Document Preparation | Подготовка документов | #2FC6F6
30 PREPAYMENT_INVOICE - | Prepayment Invoice | Счёт на предоплату | #55D0E0
40 EXECUTING - | In Progress | В работе | #47E4C2
50 FINAL_INVOICE - | Final Invoice | Финальный счёт | #FFA900
60 WON *S | Deal Won | Сделка успешна | #7BD500
70 LOSE *F | Deal Lost | Сделка провалена | #FF5752
80 APOLOGY F | Analyzing Cause of Loss | Анализ причины провала | #FF5752
"""
_WHOLESALE = """
10 NEW * | Request received | Запрос получен | #39A8EF
20 UC_A1B2C3 - | Price agreed "in writing" | Цена согласована «письменно» | #2FC6F6
30 UC_9F4K2L - | Shipping 🚚 | Отгрузка 🚚 | #47E4C2
40 WON *S | Deal Won | Сделка успешна | #7BD500
50 LOSE *F | Deal Lost | Сделка провалена | #FF5752
60 UC_7QX0Z1 F | <b>Too expensive</b> | <b>Слишком дорого</b> | #FF5752
"""
_SERVICE = """
10 NEW * | New | Новая | #39A8EF
20 UC_M3N4P5 - | Technician assigned | Назначен мастер | #2FC6F6
30 EXECUTING - | In Progress | В работе | #47E4C2
40 WON *S | Deal Won | Сделка успешна | #7BD500
50 LOSE *F | Deal Lost | Сделка провалена | #FF5752
"""
_QUOTE = """
10 DRAFT * | New | Новое | #39A8EF
20 SENT - | Sent to Client | Отправлено клиенту | #2FC6F6
30 APPROVED *S | Accepted | Принято | #7BD500
40 DECLAINED *F | Declined | Отклонено | #FF5752
50 APOLOGY F | Analyzing Cause of Loss | Анализ причины провала | #FF5752
"""
_INVOICE = """
10 N * | New | Новый | #39A8EF
20 S - | Sent to Client | Отправлен клиенту | #2FC6F6
30 P *S | Paid | Оплачен | #7BD500
40 D *F | Not Paid | Не оплачен | #FF5752
"""
_DOCUMENT = """
10 DRAFT * | Draft | Черновик | #39A8EF
20 PROCESSING - | Processing | В обработке | #2FC6F6
30 SENT - | Sent | Отправлен | #55D0E0
40 SEMISIGNED - | Signed by one party | Подписан одной стороной | #47E4C2
50 SIGNED - | Signed | Подписан | #FFA900
60 ARCHIVE S | Archived | В архиве | #7BD500
70 NOTSIGNED *F | Not signed | Не подписан | #FF5752
"""
_RENTAL = """
10 NEW * | Start | Начало | #39A8EF
20 PREPARATION - | Preparation | Подготовка | #2FC6F6
30 CLIENT - | With the client | У клиента | #47E4C2
40 SUCCESS *S | Returned | Возвращено | #7BD500
50 FAIL *F | Not returned | Не возвращено | #FF5752
"""
_SOURCE = """
10 CALL * | Call | Звонок
20 EMAIL - | E-Mail | Электронная почта
30 WEB - | Website | Веб-сайт
40 ADVERTISING - | Advertising | Реклама
50 PARTNER - | Existing Client | Существующий клиент
60 RECOMMENDATION - | By Recommendation | По рекомендации
70 TRADE_SHOW - | Show/Exhibition | Выставка
71 UC_C0LD01 - | Cold call | Холодный звонок
75 WEBFORM * | CRM form | CRM-форма
76 REPEAT_SALE * | Repeat sale | Повторная продажа
77 CALLBACK * | Callback | Обратный звонок
78 RC_GENERATOR * | Sales boost | Генератор продаж
79 STORE * | Online Store | Интернет-магазин
80 OTHER - | Other | Другое
81 BOOKING * | Online booking | Онлайн-запись
"""
_DEAL_TYPE = """
10 SALE - | Sales | Продажа
20 COMPLEX - | Integrated Sales | Комплексная продажа
30 GOODS - | Goods | Продажа товара
40 SERVICES - | Services | Услуги
50 SERVICE - | After-Sales Service | Сервисное обслуживание
"""
_CONTACT_TYPE = """
10 CLIENT - | Clients | Клиенты
20 SUPPLIER - | Suppliers | Поставщики
30 PARTNER - | Partners | Партнёры
40 OTHER - | Other | Другое
"""
_COMPANY_TYPE = """
10 CUSTOMER - | Client | Клиент
20 SUPPLIER - | Supplier | Поставщик
30 COMPETITOR - | Competitor | Конкурент
40 PARTNER - | Partner | Партнёр
50 OTHER - | Other | Другое
"""
_INDUSTRY = """
10 IT - | Information Technology | Информационные технологии
20 TELECOM - | Telecommunication | Телекоммуникации и связь
30 MANUFACTURING - | Manufacturing | Производство
40 BANKING - | Banking Services | Банковские услуги
50 CONSULTING - | Consulting | Консалтинг
60 FINANCE - | Finance | Финансы
70 GOVERNMENT - | Government | Правительство
80 DELIVERY - | Delivery | Доставка
90 ENTERTAINMENT - | Entertainment | Развлечения
100 NOTPROFIT - | Non-profit | Не для получения прибыли
110 OTHER - | Other | Другое
"""
_EMPLOYEES = """
10 EMPLOYEES_1 - | fewer than 50 | менее 50
20 EMPLOYEES_2 - | 50-250 | 50-250
30 EMPLOYEES_3 - | 250-500 | 250-500
40 EMPLOYEES_4 - | over 500 | более 500
"""
_HONORIFIC = """
10 HNR_EN_1 - | Mr. | г-н
20 HNR_EN_2 - | Ms. | г-жа
30 HNR_EN_3 - | Dr. | д-р
"""
_CALL_LIST = """
10 IN_WORK * | In progress | В работе
20 SUCCESS * | Successful | Успешно
30 WRONG_NUMBER * | Wrong number | Неверный номер
40 STOP_CALLING * | Do not call | Больше не звонить
"""

_LEAD_MEANINGS = ("NEW", "CONVERTED", "JUNK")
_DEAL_MEANINGS = ("NEW", "WON", "LOSE")

# (directory, English title, Russian title, items)
_BUILT_IN = (
    (Directory("SOURCE"), "Sources", "Источники", _SOURCE),
    (Directory("STATUS", entity_type_id=1, semantic_info=_LEAD_MEANINGS), "Lead stages", "Стадии лида", _LEAD),
    (Directory("DEAL_TYPE"), "Deal types", "Типы сделки", _DEAL_TYPE),
    (
        Directory(
            "DEAL_STAGE_2",
            entity_type_id=2,
            prefix="C2",
            category_id="2",
            parent_id="DEAL_STAGE",
            semantic_info=_DEAL_MEANINGS,
        ),
        "Deal stages (Service contracts)",
        "Стадии сделки (Сервисные договоры)",
        _SERVICE,
    ),
    (
        Directory("DEAL_STAGE", entity_type_id=2, category_id=0, semantic_info=_DEAL_MEANINGS),
        "Deal stages",
        "Стадии сделки",
        _DEAL,
    ),
    (
        Directory(
            "DEAL_STAGE_1",
            entity_type_id=2,
            prefix="C1",
            category_id="1",
            parent_id="DEAL_STAGE",
            semantic_info=_DEAL_MEANINGS,
        ),
        "Deal stages (Wholesale)",
        "Стадии сделки (Опт)",
        _WHOLESALE,
    ),
    (
        Directory("QUOTE_STATUS", entity_type_id=7, semantic_info=("DRAFT", "APPROVED", "DECLAINED")),
        "Estimate stages",
        "Стадии предложения",
        _QUOTE,
    ),
    (Directory("CONTACT_TYPE"), "Contact types", "Типы контакта", _CONTACT_TYPE),
    (Directory("COMPANY_TYPE"), "Company types", "Типы компании", _COMPANY_TYPE),
    (Directory("INDUSTRY"), "Industries", "Сферы деятельности", _INDUSTRY),
    (Directory("EMPLOYEES"), "Company size", "Количество сотрудников", _EMPLOYEES),
    (Directory("HONORIFIC"), "Salutations", "Обращения", _HONORIFIC),
    (Directory("CALL_LIST"), "Call list results", "Результаты обзвона", _CALL_LIST),
    (Directory("INVOICE_STATUS"), "Invoice statuses (old)", "Статусы счёта (старые)", _INVOICE),
    (
        Directory("SMART_INVOICE_STAGE_3", entity_type_id=31, prefix="DT31_3", category_id=3),
        "Invoice stages",
        "Стадии счёта",
        _INVOICE,
    ),
    (
        Directory("SMART_DOCUMENT_STAGE_5", entity_type_id=36, prefix="DT36_5", category_id=5, enabled=False),
        "Document stages",
        "Стадии документа",
        _DOCUMENT,
    ),
    (
        Directory("DYNAMIC_177_STAGE_8", entity_type_id=177, prefix="DT177_8", category_id="8"),
        "Equipment rental stages (Abroad)",
        "Стадии «Аренда оборудования» (Заграница)",
        _RENTAL,
    ),
    (
        Directory("DYNAMIC_177_STAGE_7", entity_type_id=177, prefix="DT177_7", category_id=7),
        "Equipment rental stages (General)",
        "Стадии «Аренда оборудования» (Общая)",
        _RENTAL,
    ),
    (Directory("PARTNER_LEVEL"), "Partner levels", "Уровни партнёров", ""),
)

_PIPELINES = {
    "DEAL_STAGE": ("General", "Общая"),
    "DEAL_STAGE_1": ("Wholesale", "Опт"),
    "DEAL_STAGE_2": ("Service contracts", "Сервисные договоры"),
    "SMART_INVOICE_STAGE_3": ("General", "Общая"),
    "SMART_DOCUMENT_STAGE_5": ("General", "Общая"),
    "DYNAMIC_177_STAGE_7": ("General", "Общая"),
    "DYNAMIC_177_STAGE_8": ("Abroad", "Заграница"),
}


def seeded_store(language: Language = "en") -> CrmStore:
    """Return a fresh store with everything above, titles and names in `language`."""
    column = 0 if language == "en" else 1
    store = CrmStore(language=column)
    for template, *titles, table in _BUILT_IN:
        directory = template.copy_with(
            name=titles[column],
            category_name=_PIPELINES.get(template.id, ("", ""))[column],
        )
        store.directories[directory.id] = directory
        for line in table.strip().splitlines():
            _put(store, directory, line, column)
    store.records = seed_records(store, column)
    return store


def _put(store: Store, directory: Directory, line: str, column: int) -> None:
    left, *cells = (cell.strip() for cell in line.split("|"))
    sort, code, flags = left.split()
    store.put(
        Item(
            id=store.next_id(),
            entity_id=directory.id,
            status_id=directory.prefixed(code),
            name=cells[column],
            sort=int(sort),
            system="*" in flags,
            color=cells[2] if len(cells) > 2 else "",
            semantics="S" if "S" in flags else "F" if "F" in flags else "",
        )
    )

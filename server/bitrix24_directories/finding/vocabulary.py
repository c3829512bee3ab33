"""What people say around codes, in English and Russian: words that carry nothing, meanings of stages, names of fields.

Data for `matching`, in the one form of `words`, its only import.
"""

from __future__ import annotations

from bitrix24_directories.words import Word, words_of


def _stems(text: str) -> frozenset[str]:
    return frozenset(form for word in words_of(text) for form in word)


CARRY_NOTHING = _stems("""
    a an the in on of by to for from with as at is are be it its this that them than into and or please
    set move put change mark make update assign add use select choose give want need should must will would can now
    в во на по с со из за для и или как к у о об это этот эту эта его ее их она он оно нам мне
    переведи перевести перемести переместить поставь поставить установи установить измени изменить сделай отметь
    отметить выбери укажи указать пожалуйста надо нужно хочу теперь
""")
"""Words that a query may hold without meaning anything by them."""

# In the languages of Bitrix24's own lists: English, Russian, Ukrainian, Kazakh, German, Spanish, Portuguese, Polish,
# French, Italian, Turkish, Indonesian, Vietnamese, Hindi, Arabic. As they stand: a stem would take in other words.
NEGATIONS = frozenset(
    word.whole
    for word in words_of("""
    not no never none neither nor without except cannot dont doesnt didnt isnt arent wasnt werent wont cant havent hasnt
    не нет ни без нельзя никогда никак кроме ні немає ніколи крім емес жоқ
    nicht kein keine keinen keiner keinem keines nie niemals ohne weder außer
    nunca sin jamás ni excepto não nunca sem nem jamais exceto nie bez nigdy ani żaden żadna żadne oprócz
    ne pas sans jamais aucun aucune sauf non senza mai nessun nessuno nessuna
    değil yok hayır asla tidak bukan belum tanpa không chưa नहीं बिना
    لا ليس ليست لم لن غير بدون ما
    """)
)
"""Words that deny what stands with them."""

SUCCESS = _stems("""
    won win wins winning success successful successfully succeeded victory
    успех успешно успешна успешный успешная победа выиграна выигран выиграно выиграли выиграть выигрыш
""")
FAILURE = _stems("""
    lost lose loses losing loss fail fails failed failure junk rejected reject refused refusal declined
    отказ отказано отказались отклонено отклонен отклонили провал провалена провален провалили проиграна проигран
    проиграли проиграть проигрыш неудача неуспех неуспешно
""")
CLOSED = _stems("closed close finished закрыта закрыт закрыто закрыли завершена завершен завершено")
"""What ended, well unless something else is said."""

STAGE_WORDS = _stems(
    "stage stages status statuses step pipeline funnel стадия стадии статус статусы этап этапы воронка"
)
LIST_WORDS = _stems("list directory type kind value справочник список тип вид значение")
MAIN_PIPELINE = _stems("main default general первая основная главная общая")

ENTITY_WORDS = {
    "deal": _stems("deal deals сделка сделки сделку сделок"),
    "lead": _stems("lead leads лид лиды лида лидов"),
    "contact": _stems("contact contacts контакт контакты"),
    "company": _stems("company companies компания компании"),
    "quote": _stems("quote quotes estimate estimates offer предложение предложения коммерческое смета"),
    "invoice": _stems("invoice invoices счет счета"),
    "item(31)": _stems("invoice invoices счет счета"),
    "item(36)": _stems("document documents документ документы"),
}
"""What people call the things whose fields take codes, by the first part of `usedIn`."""

FIELD_WORDS = {
    "SOURCE": _stems("source sources origin channel источник источники канал"),
    "INDUSTRY": _stems("industry industries sector branch сфера отрасль деятельность"),
    "EMPLOYEES": _stems("employees size staff сотрудники сотрудников численность размер"),
    "HONORIFIC": _stems("salutation honorific обращение"),
    "CALL_LIST": _stems("call list calling обзвон"),
}
"""What people call the directories themselves, by id, where they do not just read the title."""


def stage_meaning(word: Word) -> int:
    """1 for a word of success, -1 for one of failure, 0 for any other."""
    if not (SUCCESS.isdisjoint(word) and CLOSED.isdisjoint(word)):
        return 1
    return 0 if FAILURE.isdisjoint(word) else -1

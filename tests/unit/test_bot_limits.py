"""What the settings allow to whom, and how a refusal is worded."""

import pytest

from bot.language import Language
from bot.limits import Limits, duration, explain
from bot.pseudonyms import Pseudonyms
from bot.settings import BotSettings
from engine.client import Admission, Admitted, Limit, Rate, Whose

PSEUDONYMS = Pseudonyms(b"test")


def quotas(settings, person: str | None = "telegram:1", chat: str = "telegram:2"):
    return Limits(settings, PSEUDONYMS).quotas(person=person, chat=chat)


def test_a_person_and_a_chat_have_quotas_under_their_pseudonyms():
    person, chat = quotas(BotSettings())
    assert (person.whose, person.name, person.in_flight) == (
        Whose.PERSON,
        PSEUDONYMS.of("telegram:1"),
        3,
    )
    assert person.rates == (Rate(count=10, window_s=60), Rate(count=100, window_s=86_400))
    assert (chat.whose, chat.in_flight) == (Whose.CHAT, 10)
    assert chat.name == PSEUDONYMS.of("telegram:2")
    assert chat.rates == (Rate(count=30, window_s=60), Rate(count=1000, window_s=86_400))


def test_a_chat_that_speaks_as_such_has_the_chats_quota_alone():
    assert [quota.whose for quota in quotas(BotSettings(), person=None)] == [Whose.CHAT]


def test_zero_is_no_limit():
    settings = BotSettings(
        person_in_flight=0, person_per_minute=0, person_per_day=0, chat_per_day=0, chat_in_flight=0
    )
    [chat] = quotas(settings)
    assert (chat.whose, chat.in_flight) == (Whose.CHAT, 0)
    assert chat.rates == (Rate(count=30, window_s=60),)


def test_the_console_has_only_the_limits_that_are_set(monkeypatch):
    monkeypatch.delenv("YUEFU_PERSON_PER_MINUTE", raising=False)
    assert quotas(BotSettings().with_set_limits_only()) == ()
    monkeypatch.setenv("YUEFU_PERSON_PER_MINUTE", "5")
    [person] = quotas(BotSettings().with_set_limits_only())
    assert (person.in_flight, person.rates) == (0, (Rate(count=5, window_s=60),))


PERSON_MINUTE = Limit(whose=Whose.PERSON, most=10, window_s=60)
CHAT_DAY = Limit(whose=Whose.CHAT, most=1000, window_s=86_400)
PERSON_AT_ONCE = Limit(whose=Whose.PERSON, most=3)
CHAT_AT_ONCE = Limit(whose=Whose.CHAT, most=10)


@pytest.mark.parametrize(
    ("limit", "wait_s", "line"),
    [
        (
            PERSON_MINUTE,
            41.2,
            "The most poems you can ask for in 1 min is 10; please ask again in 42 s.",
        ),
        (
            CHAT_DAY,
            7300,
            "The most poems this chat can ask for in 24 h is 1000; please ask again in 3 h.",
        ),
        (
            PERSON_AT_ONCE,
            59.9,
            (
                "Poems of yours under way: 3, the most there can be; "
                "please ask again when one is here, in 1 min at most."
            ),
        ),
        (
            CHAT_AT_ONCE,
            5,
            (
                "Poems of this chat under way: 10, the most there can be; "
                "please ask again when one is here, in 5 s at most."
            ),
        ),
    ],
)
def test_a_refusal_says_who_is_limited_and_how_long_to_wait(limit, wait_s, line):
    admission = Admission(status=Admitted.LIMITED, limit=limit, retry_after_s=wait_s)
    assert explain(admission, Language.EN) == line


def test_a_full_queue_says_how_many_are_ahead_and_how_long_they_take():
    full = Admission(status=Admitted.FULL, position=4097, retry_after_s=130)
    assert explain(full, Language.EN) == (
        "4096 poems are waiting before yours, about 3 min; please try again then."
    )
    assert explain(full, Language.ZH) == "前面还有 4096 首诗在排队，大约要 3 分钟；请到时再试。"


@pytest.mark.parametrize(
    "full", [Admission(status=Admitted.FULL), Admission(status=Admitted.FULL, position=9)]
)
def test_where_nobody_knows_how_long_a_full_queue_takes_no_number_is_said(full):
    line = explain(full, Language.EN)
    assert line == "Too many people are waiting; please try again in a minute."


@pytest.mark.parametrize("status", [Admitted.ACCEPTED, Admitted.DUPLICATE])
def test_of_what_was_let_in_nothing_is_said(status):
    assert explain(Admission(status=status, position=1), Language.EN) is None


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0.01, "1 s"),
        (59.5, "1 min"),
        (61, "61 s"),
        (90, "90 s"),
        (91, "2 min"),
        (3600, "1 h"),
        (3601, "61 min"),
        (5401, "2 h"),
        (86_400, "24 h"),
    ],
)
def test_a_duration_is_said_in_one_unit_and_never_too_short(seconds, said):
    assert duration(seconds, Language.EN) == said

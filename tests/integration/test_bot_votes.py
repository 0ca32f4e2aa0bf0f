"""What can be done with a poem by the buttons below it, and by reactions to it."""

import pytest
from pydantic import SecretStr

from bot.anthology.people import CONSENT_VERSION
from bot.message import Tally
from engine.verse.frame import OPEN
from tests.fakes.bot import serving
from tests.fakes.engine import fake_engine
from tests.fakes.fonts import make_font
from tests.fakes.jobs import a_poem
from tests.fakes.telegram import USERNAME
from tests.fakes.waiting import until

GROUP = -100_500
EVERYTHING_ON_THE_CARD = (
    "月落空江夜风吹远树秋故人千里外一叶下汀洲云山连野水绝边塞五尤东韵乐府生成 · lstmgru AI"
)


@pytest.fixture
def settings(settings, anthology_url):
    return settings.model_copy(update={"database_url": SecretStr(anthology_url)})


@pytest.fixture
async def engine(redis, settings, monkeypatch):
    monkeypatch.setattr("bot.tallies.PAUSE_S", 0.05)
    async with fake_engine(redis, answer=a_poem) as running, serving(settings):
        yield running


async def a_shown_poem(fake, anthology, chat_id=7):
    name = f"@{USERNAME}" if chat_id < 0 else ""
    update = await fake.say(f"/poem{name} 月 边塞 五绝 韵:东", chat_id=chat_id)
    await fake.until(lambda: len(fake.sent) == 1)

    async def known():
        row = await anthology.poems.get(f"tg:{update}")
        return row is not None and row.shown_at is not None

    await until(known)
    return fake.sent[0]


async def tap(fake, sent, index, **extra):
    """Tap the button of that place; what the tap is answered."""
    before = len(fake.answered)
    await fake.tap(sent.message_id, fake.now(sent).buttons[index], chat_id=sent.chat_id, **extra)
    await fake.until(lambda: len(fake.answered) > before)
    return fake.answered[-1][1]


async def test_votes_of_many_are_counted_once_each_and_shown(fake, engine, anthology):
    poem = await a_shown_poem(fake, anthology, GROUP)
    for person, button in ((1, 0), (1, 0), (2, 0), (3, 1), (3, 1), (2, 0)):
        await tap(fake, poem, button, person=person)
    assert await anthology.ratings.tally("tg:1000") == Tally(up=2, down=1)
    await fake.until(lambda: fake.now(poem).labels[0] == "👍 2")
    await tap(fake, poem, 1, person=2)
    await fake.until(lambda: fake.now(poem).labels[0] == "👍 1")
    assert fake.now(poem).text == poem.text


async def test_a_burst_of_votes_changes_the_message_once(fake, engine, anthology, monkeypatch):
    poem = await a_shown_poem(fake, anthology, GROUP)
    for person in range(1, 31):
        await fake.tap(poem.message_id, poem.buttons[0], chat_id=GROUP, person=person)
    await fake.until(lambda: fake.now(poem).labels[0] == "👍 30")
    assert len(fake.edits) < 30


async def test_a_poem_cannot_be_voted_on_from_where_it_was_not_shown(fake, engine, anthology):
    poem = await a_shown_poem(fake, anthology)
    await fake.tap(poem.message_id, poem.buttons[0], chat_id=8)
    await fake.until(lambda: fake.answered)
    assert "不记得" in fake.answered[0][1]
    assert await anthology.ratings.tally("tg:1000") == Tally()


async def test_consent_is_asked_once_and_what_is_answered_last_counts(fake, engine, anthology):
    poem = await a_shown_poem(fake, anthology)
    assert await tap(fake, poem, 0) == "👍 记下了。"
    await fake.until(lambda: len(fake.sent) == 2)
    question = fake.sent[1]
    assert "训练" in question.text
    assert await tap(fake, poem, 1) == "👎 记下了。"
    for index, answer in ((0, True), (1, False)):
        await fake.tap(question.message_id, question.buttons[index])
        await fake.until(lambda: len(fake.edits) > 0)

        async def answered(answer=answer):
            consent = await anthology.people.consent("telegram:7")
            return consent is not None and consent.given is answer

        await until(answered)
    consent = await anthology.people.consent("telegram:7")
    assert consent.version == CONSENT_VERSION
    assert consent.asked_at < consent.answered_at
    assert len(fake.sent) == 2


async def test_in_a_group_consent_is_asked_of_one_person_without_a_message(fake, engine, anthology):
    poem = await a_shown_poem(fake, anthology, GROUP)
    assert "/privacy" in await tap(fake, poem, 0, person=1)
    assert await tap(fake, poem, 1, person=1) == "👎 记下了。"
    assert len(fake.sent) == 1


async def test_reactions_count_as_votes_and_can_be_taken_back(fake, engine, anthology):
    poem = await a_shown_poem(fake, anthology, GROUP)

    async def tally_is(wanted):
        async def same():
            return await anthology.ratings.tally("tg:1000") == wanted

        await until(same)

    await fake.react(poem.message_id, "🔥", chat_id=GROUP, person=1)
    await fake.react(poem.message_id, "👎", chat_id=GROUP, person=2)
    await fake.react(9999, "👍", chat_id=GROUP, person=3)
    await tally_is(Tally(up=1, down=1))
    await fake.react(poem.message_id, "", chat_id=GROUP, person=1)
    await tally_is(Tally(down=1))
    await fake.until(lambda: fake.now(poem).labels[0] == "👍")


async def test_another_poem_is_asked_for_as_the_first_was(fake, engine, anthology):
    poem = await a_shown_poem(fake, anthology)
    assert await tap(fake, poem, 2) == "在写了……"
    await fake.until(lambda: len(fake.sent) == 2)
    first, second = engine.jobs
    for name in ("opening", "form", "rhyme", "theme", "cell", "temperature"):
        assert getattr(first, name) == getattr(second, name)
    assert first.seed != second.seed
    assert fake.sent[1].labels == ["👍", "👎", "🔁", "✍", "🖼"]


async def test_a_line_is_rewritten_by_its_number(fake, engine, anthology):
    poem = await a_shown_poem(fake, anthology)
    assert await tap(fake, poem, 3) == "要改哪一句？点它的句数。"
    await fake.until(lambda: fake.now(poem).labels == ["1", "2", "3", "4", "↩"])
    assert await tap(fake, poem, 4) == ""
    await fake.until(lambda: fake.now(poem).labels == poem.labels)
    await tap(fake, poem, 3)
    await fake.until(lambda: fake.now(poem).labels[0] == "1")
    assert await tap(fake, poem, 1) == "在写了……"
    await fake.until(lambda: len(fake.sent) == 2)
    assert [place for place, char in enumerate(engine.jobs[1].frame) if char == OPEN] == [
        *range(5, 10)
    ]
    await fake.until(lambda: fake.now(poem).labels == poem.labels)


async def test_a_card_is_drawn_once_and_then_shown_as_the_file_that_telegram_has(
    fake, settings, redis, anthology, tmp_path
):
    font = make_font(tmp_path / "font.ttf", EVERYTHING_ON_THE_CARD)
    settings = settings.model_copy(update={"card_font": font})
    async with fake_engine(redis, answer=a_poem), serving(settings):
        poem = await a_shown_poem(fake, anthology)
        assert await tap(fake, poem, 4) == ""
        await fake.until(lambda: len(fake.sent) == 2)
        await fake.reply("/card", poem)
        await fake.reply("/card 墨 1:1", poem)
        await fake.until(lambda: len(fake.sent) == 4)
        await fake.reply("/card 红", poem)
        await fake.until(lambda: len(fake.sent) == 5)
    photos = [sent.photo for sent in fake.sent[1:4]]
    assert photos[0] == photos[1] != photos[2]
    assert [picture.startswith(b"\x89PNG") for picture in fake.files.values()] == [True] * 2
    assert "比如 /card 墨 1:1" in fake.sent[4].text


async def test_a_card_that_telegram_lost_is_drawn_anew(fake, settings, redis, anthology, tmp_path):
    font = make_font(tmp_path / "font.ttf", EVERYTHING_ON_THE_CARD)
    settings = settings.model_copy(update={"card_font": font})
    async with fake_engine(redis, answer=a_poem), serving(settings):
        poem = await a_shown_poem(fake, anthology)
        for number in (2, 3, 4):
            await fake.reply("/card", poem)
            await fake.until(lambda number=number: len(fake.sent) == number)
            if number == 2:
                fake.files.clear()
    assert [len(fake.files), fake.sent[2].photo] == [1, fake.sent[3].photo]


async def test_where_nobody_may_send_pictures_the_text_is_shown(
    fake, settings, redis, anthology, tmp_path
):
    font = make_font(tmp_path / "font.ttf", EVERYTHING_ON_THE_CARD)
    settings = settings.model_copy(update={"card_font": font})
    fake.without_pictures.add(GROUP)
    async with fake_engine(redis, answer=a_poem), serving(settings):
        poem = await a_shown_poem(fake, anthology, GROUP)
        await fake.reply("/card", poem)
        await fake.until(lambda: len(fake.sent) == 2)
    assert fake.sent[1].text == poem.text


async def test_without_a_font_the_text_is_shown_and_says_why(fake, engine, settings, anthology):
    poem = await a_shown_poem(fake, anthology)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("bot.cards.fonts.USUAL_FONTS", ())
        await tap(fake, poem, 4)
        await fake.until(lambda: len(fake.sent) == 2)
    assert fake.sent[1].text.startswith(poem.text)
    assert fake.sent[1].text.endswith("。")
    assert fake.files == {}


async def test_a_card_of_nothing_is_refused_in_one_line(fake, engine):
    await fake.say("/card", chat_id=GROUP)
    await fake.until(lambda: len(fake.sent) == 1)
    assert "回复" in fake.texts()[0]


async def test_in_a_group_only_admins_change_its_settings(fake, engine, anthology):
    fake.admins[GROUP] = {5}
    person = {"from": {"id": 6, "is_bot": False, "first_name": "R", "language_code": "en"}}
    for line in ("/style gru", "/lang zh", "/script traditional", "/style"):
        await fake.say(line, chat_id=GROUP, **person)
    await fake.until(lambda: len(fake.sent) == 4)
    refused = "Only admins of this chat can change that; please ask one."
    assert fake.texts()[:3] == [refused] * 3
    assert fake.texts()[3].startswith("The style here")
    person["from"]["id"] = 5
    for line in ("/lang zh", "/script traditional", "/poem 月"):
        await fake.say(line, chat_id=GROUP, **person)
    await fake.until(lambda: len(fake.sent) == 7)
    assert fake.texts()[4] == "好，以后在这里我说简体中文。"
    assert engine.jobs[0].context["script"] == "traditional"
    asked = [method for method, _ in fake.calls if method == "getChatAdministrators"]
    assert len(asked) == 1


async def test_whoever_speaks_as_the_group_runs_it(fake, engine, anthology):
    chat = {"id": GROUP, "type": "supergroup", "title": "Readers"}
    await fake.say("/lang en", chat_id=GROUP, sender_chat=chat)
    await fake.until(lambda: len(fake.sent) == 1)
    assert fake.texts() == ["Done. From now on I speak English here."]

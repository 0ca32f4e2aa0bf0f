"""Curators put a model back from chat, with a real engine behind it."""

import pytest
from sqlalchemy import select

from bot.anthology import Anthology
from bot.anthology.tables import AuditRow
from engine import keys
from engine.client import EngineClient
from engine.heartbeat import Heartbeat, beat
from engine.jobs import Cell
from tests.fakes.bot import serving
from tests.fakes.models import write_model
from tests.fakes.serving import engine_process, small_registry
from tests.fakes.waiting import until

CURATOR, ADMIN, GROUP = 7, 5, -1


@pytest.fixture
def settings(settings):
    return settings.model_copy(update={"curators": f"telegram:{CURATOR}"})


async def ask(fake, line, **where):
    before = len(fake.sent)
    await fake.say(line, **where)
    await fake.until(lambda: len(fake.sent) > before)
    return fake.sent[before]


def says(person):
    return {"from": {"id": person, "is_bot": False, "first_name": "R", "language_code": "zh"}}


async def tap(fake, sent, data, **extra):
    """Tap a button with that in it; what the tap is answered."""
    before = len(fake.answered)
    await fake.tap(sent.message_id, data, chat_id=sent.chat_id, **extra)
    await fake.until(lambda: len(fake.answered) > before)
    return fake.answered[-1][1]


async def shows(fake, sent, words):
    await fake.until(lambda: words in fake.now(sent).text)


async def audited(anthology):
    async def read(session):
        return (await session.scalars(select(AuditRow).order_by(AuditRow.id))).all()

    return [row for row in await anthology._database.read(read) if row.action == "rollback"]


async def test_a_curator_puts_the_model_before_back(fake, redis, valkey_url, settings, tmp_path):
    registry, (first, second, third) = small_registry(tmp_path / "models", gru=3)
    registry.promote(second)
    registry.challenge(third)
    registry.promote(write_model(registry.folder, Cell.RNN).name)
    client = EngineClient(redis)
    async with (
        engine_process(registry, valkey_url, client, YUEFU_TRIAL_SHARE="0.25"),
        serving(settings),
        Anthology.open(settings.anthology_url, settings.pseudonyms) as kept,
    ):
        told = (await ask(fake, "/model", language="en")).text
        assert f"· gru: {second}, trained on" in told
        assert f"on trial: {third}, for about 25 % of the poems" in told

        question = await ask(fake, "/rollback gru")
        assert second in question.text
        assert question.labels == ["换回去", "不换"]
        yes, no = question.buttons
        assert await tap(fake, question, no) == ""
        await shows(fake, question, "没有换")
        assert registry.aliases(Cell.GRU).champion == second

        question = await ask(fake, "/rollback gru")
        assert "编选人" in await tap(fake, question, yes, person=9)
        assert "请等几秒" in await tap(fake, question, yes)
        await shows(fake, question, f"{second} → {first}")
        print(f"\nrollback from chat: {fake.now(question).text}")
        assert fake.now(question).labels == []
        assert registry.aliases(Cell.GRU).champion == first
        assert (await client.cells())[Cell.GRU] == first
        [row] = await audited(kept)
        assert row.detail == {"cell": "gru", "from": second, "to": first}
        assert row.actor == settings.pseudonyms.of(f"telegram:{CURATOR}")

        # The old question still names the old champion.
        await tap(fake, question, yes)
        await shows(fake, question, f"已经不是 {second}")
        assert registry.aliases(Cell.GRU).champion == first
        assert len(await audited(kept)) == 1

        # Without a word it is the chat's own; and of a cell with one model there is no other.
        assert "lstm" in (await ask(fake, "/rollback")).text
        question = await ask(fake, "/回退 rnn")
        await tap(fake, question, question.buttons[0])
        await shows(fake, question, "没有别的模型")
        assert len(await audited(kept)) == 1


@pytest.fixture
async def written_by(redis):
    """Has an engine that obeys nobody say with which gru it writes."""

    async def tell(checkpoint):
        cells = {Cell.GRU: checkpoint, Cell.LSTM: "lstm-1"}
        await beat(redis, Heartbeat(worker="deaf", cells=cells, slots=1, since_ms=1))

    await tell("gru-2")
    return tell


async def test_only_curators_whom_the_operator_named_put_a_model_back(fake, settings, written_by):
    fake.admins[GROUP] = {ADMIN}
    async with serving(settings):
        where = {"chat_id": GROUP, **says(ADMIN)}
        assert "可以用 /review" in (await ask(fake, "/curate on", **where)).text
        assert "运营者指定" in (await ask(fake, "/rollback gru", **where)).text
        await written_by("gru-2")
        question = await ask(fake, "/rollback gru", chat_id=GROUP, **says(CURATOR))
        yes = question.buttons[0]
        assert "运营者指定" in await tap(fake, question, yes, person=ADMIN)


async def test_what_is_no_running_model_is_said_to_be_none(fake, settings, written_by):
    async with serving(settings):
        for words in ("rnn", "月", "gru lstm"):
            await written_by("gru-2")
            assert "gru, lstm" in (await ask(fake, f"/rollback {words}")).text


async def test_others_are_answered_meanwhile_and_a_killed_bot_goes_on_with_it(
    fake, redis, settings, written_by
):
    async with serving(settings):
        question = await ask(fake, "/rollback gru")
        await tap(fake, question, question.buttons[0])
        await until(lambda: redis.exists(keys.rollback(Cell.GRU)))
        assert "/poem" in (await ask(fake, "/help")).text
    await redis.delete(keys.rollback(Cell.GRU))
    await written_by("gru-2")
    async with serving(settings):
        await until(lambda: redis.exists(keys.rollback(Cell.GRU)))
        await written_by("gru-1")
        await shows(fake, question, "gru-2 → gru-1")

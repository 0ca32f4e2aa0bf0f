"""Discord, in real processes: a bot, an engine with its bundled models, a Valkey."""

import re

import pytest

from bot import texts
from bot.commands import COMMANDS
from engine.verse.checker import check, split_lines
from tests.fakes.bot import bot_process
from tests.fakes.discord import FakeDiscord

ENGINE_START_S = 60
MANAGE_CHANNELS = 1 << 4
CHANNEL = 5_000_000_000_000_000_005
POEM = "白日依山尽，黄河入海流。\n欲穷千里目，更上一层楼。"

# Each command, what it is told, and a part of what it answers in Chinese and in English.
COMMANDS_SAID: tuple[tuple[str, dict[str, str], str, str], ...] = (
    ("start", {}, "我是乐府", "I am Yuefu"),
    ("help", {}, "/acrostic", "/acrostic"),
    ("style", {}, "温度", "temperature"),
    ("style", {"model": "gru", "temperature": "0.7", "form": "wujue"}, "0.7", "0.7"),
    ("lang", {"language": "auto"}, texts.LANGUAGE_FREE.zh, texts.LANGUAGE_FREE.en),
    ("script", {"script": "auto"}, texts.SCRIPT_FREE.zh, texts.SCRIPT_FREE.en),
    ("card", {"paper": "ink"}, texts.CARD_OF_WHAT.zh, texts.CARD_OF_WHAT.en),
    ("check", {"poem": POEM}, "平仄、粘对、押韵都合格律", "It keeps every rule"),
    ("poem", {"opening": "月", "form": "wujue"}, "月", "月"),
    ("acrostic", {"heads": "春夏秋冬"}, "春", "春"),
    ("rewrite", {"part": "2", "poem": POEM}, "白日依山尽", "白日依山尽"),
    ("daily", {}, texts.DAILY_NONE.zh, texts.DAILY_NONE.en),
    ("top", {"period": "week"}, texts.TOP_NOTHING.zh, texts.TOP_NOTHING.en),
    ("mine", {}, "诗", "poem"),
    ("model", {}, "lstm", "lstm"),
    ("review", {}, texts.CURATORS_ONLY.zh, texts.CURATORS_ONLY.en),
    ("stats", {}, texts.CURATORS_ONLY.zh, texts.CURATORS_ONLY.en),
    ("rollback", {"model": "gru"}, texts.APPOINTED_ONLY.zh, texts.APPOINTED_ONLY.en),
    ("privacy", {}, "/forget", "/forget"),
    ("export", {}, "", ""),
    ("forget", {}, "", ""),
)


@pytest.fixture
async def fake():
    async with FakeDiscord().serve() as discord:
        yield discord


def poem_in(message):
    """The lines of the poem that a message shows above its colophon."""
    poem, _, colophon = message.partition("\n\n")
    assert re.fullmatch(r"[\w ]+ · (\w韵|rhyme [\w ]+) · (gru|lstm)", colophon)
    return split_lines(poem)


@pytest.mark.timeout(180)
async def test_one_command_with_a_token_is_a_whole_discord_bot(fake, tmp_path):
    told_apart = {"curate"}  # Of a server only.
    assert {name for name, *_ in COMMANDS_SAID} | told_apart == {c.name for c in COMMANDS}
    settings = {"YUEFU_DISCORD_API": fake.url, "YUEFU_DISCORD_GATEWAY": fake.gateway_url}
    async with bot_process(tmp_path, "discord", **settings) as bot:
        await fake.until(lambda: fake.connections > 0, timeout_s=ENGINE_START_S)
        asked = {}
        for place, locale in enumerate(("zh-CN", "en-US")):
            where = {"channel_id": CHANNEL + place, "guild": place == 0, "locale": locale}
            where["permissions"] = MANAGE_CHANNELS
            for name, told, *said in COMMANDS_SAID:
                asked[await fake.command(name, told=told, **where)] = (name, said[place])
        await fake.until(lambda: len(fake.sent) >= len(asked), timeout_s=40)
        for one, (name, part) in asked.items():
            [answer] = fake.answers(one)
            # Whether /mine finds the poem that was asked for just before is chance.
            assert part.lower() in answer.text.lower()
            if name == "poem":
                assert check(poem_in(answer.text), opening="月").ok
            if name == "acrostic":
                assert "".join(line[0] for line in poem_in(answer.text)) == "春夏秋冬"
        await _choose_among_poems(fake)
        await _use_the_menus_of_a_message(fake)
        assert await bot.stop() == 0
    assert fake.unheard == []
    assert not any(shown.rings for shown in (*fake.sent, *fake.edits))
    assert "Traceback" not in bot.log()


async def _choose_among_poems(fake):
    """Three poems, of which somebody keeps the second."""
    where = {"channel_id": CHANNEL, "guild": True}
    asked = await fake.command("poem", "山 七绝 x3", **where)
    await fake.until(lambda: bool(fake.answers(asked)), timeout_s=30)
    [choices] = fake.answers(asked)
    second = split_lines(choices.text.split("2.\n")[1].partition("\n\n")[0])
    await fake.tap(choices, choices.buttons[1], **where)
    await fake.until(lambda: bool(fake.edits))
    assert poem_in(fake.now(choices).text) == second
    assert fake.now(choices).buttons[0].startswith("up:")


async def _use_the_menus_of_a_message(fake):
    """A poem that somebody else wrote is checked, and its second line is written anew."""
    checked = await fake.choose("Check this poem", POEM, channel_id=CHANNEL)
    await fake.until(lambda: bool(fake.answers(checked)))
    assert "押韵都合格律" in fake.answers(checked)[0].text
    await fake.choose("Rewrite this poem", POEM, channel_id=CHANNEL)
    await fake.until(lambda: bool(fake.forms))
    rewritten = await fake.fill_in(0, wish="2")
    await fake.until(lambda: bool(fake.answers(rewritten)), timeout_s=30)
    before, after = split_lines(POEM), poem_in(fake.answers(rewritten)[0].text)
    assert [old == new for old, new in zip(before, after, strict=True)] == [True, False, True, True]

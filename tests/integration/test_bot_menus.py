"""What Telegram shows of the bot unasked, and how often it has to be told."""

import pytest
from telegram import Bot

from bot.commands import COMMANDS
from bot.requests import Role
from bot.telegram.menus import publish
from tests.fakes.telegram import TOKEN

CURATOR = "telegram:42"


@pytest.fixture
async def bot(fake):
    async with Bot(TOKEN, base_url=f"{fake.url}/bot") as bot:
        fake.calls.clear()
        yield bot


def names(*roles):
    return [command.name for command in COMMANDS if command.audience in roles]


async def test_each_scope_shows_what_those_who_see_it_may_do_in_two_languages(fake, bot, redis):
    await publish(bot, redis, [CURATOR, "discord:42"])
    guests, hosts = names(Role.ANYONE), names(Role.ANYONE, Role.ADMIN)
    shown = {
        "default": guests,
        "all_private_chats": hosts,
        "all_group_chats": guests,
        "all_chat_administrators": hosts,
        "chat 42": names(*Role),
    }
    assert fake.menus == {
        (scope, code): menu for scope, menu in shown.items() for code in ("", "zh")
    }
    assert "lang" in hosts
    assert "lang" not in guests


async def test_the_bot_says_in_two_languages_what_it_is(fake, bot, redis):
    await publish(bot, redis, [])
    assert set(fake.profile) == {
        (text, code) for text in ("description", "short_description") for code in ("", "zh")
    }
    assert "月" in fake.profile["description", "zh"]


async def test_what_telegram_knows_it_is_not_told_again(fake, bot, redis, monkeypatch):
    await publish(bot, redis, [CURATOR])
    fake.calls.clear()
    await publish(bot, redis, [CURATOR])
    assert fake.calls == []
    monkeypatch.setattr("bot.telegram.menus.COMMANDS", COMMANDS[:-1])
    await publish(bot, redis, [CURATOR])
    assert {method for method, _ in fake.calls} == {"setMyCommands"}
    assert len(fake.calls) == 10


async def test_whoever_is_no_curator_any_more_loses_the_menu(fake, bot, redis):
    await publish(bot, redis, [CURATOR])
    await publish(bot, redis, [])
    assert ("chat 42", "zh") not in fake.menus
    fake.calls.clear()
    await publish(bot, redis, [])
    assert fake.calls == []


async def test_what_is_refused_stops_nothing_and_is_tried_again(fake, bot, redis):
    fake.blocked.add(42)
    await publish(bot, redis, [CURATOR])
    assert len(fake.menus) == 8
    fake.blocked.clear()
    fake.calls.clear()
    await publish(bot, redis, [CURATOR])
    assert [method for method, _ in fake.calls] == ["setMyCommands"] * 2
    assert len(fake.menus) == 10


async def test_another_bot_on_the_same_redis_is_told_anew(fake, bot, redis):
    await publish(bot, redis, [])
    fake.token, fake.menus = "777:another", {}
    async with Bot(fake.token, base_url=f"{fake.url}/bot") as other:
        await publish(other, redis, [])
    assert len(fake.menus) == 8

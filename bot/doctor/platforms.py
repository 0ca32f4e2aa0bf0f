"""Telegram and Discord: whether they know the token, and how the bot is set up there.

Asked over HTTP without their libraries, which try again for longer than anybody wants to wait and
quote tokens in what they raise.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx
from pydantic import SecretStr

from bot import texts
from bot.doctor.clock import compare_date
from bot.doctor.finding import Finding, fine, skipped, warning, wrong
from bot.doctor.place import PATIENCE_S, place_of, why_away
from bot.doctor.variables import Case, variable
from bot.telegram.webhook import PATH
from bot.texts import Text

_REFUSED = frozenset({httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN, httpx.codes.NOT_FOUND})
"""What a platform says to a token that is none; Telegram says 404 where it does not look like one.
"""


@dataclass(frozen=True, kw_only=True)
class Platform:
    """What a token is asked about."""

    name: str
    """Its name."""
    token: str
    """The setting of its token."""
    api: str
    """The setting of its address."""
    new_token: Text
    """How to get a token."""


TELEGRAM = Platform(
    name="Telegram",
    token="telegram_token",  # noqa: S106 - the name of a setting
    api="telegram_api",
    new_token=texts.TELEGRAM_TOKEN_DO,
)
DISCORD = Platform(
    name="Discord",
    token="discord_token",  # noqa: S106 - the name of a setting
    api="discord_api",
    new_token=texts.DISCORD_TOKEN_DO,
)


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What came of a question."""

    body: Any = None
    """What was answered; None where that is none."""
    findings: tuple[Finding, ...]
    """What is to be said of it."""


async def check_telegram(case: Case) -> list[Finding]:
    """The token, the modes that BotFather sets, and who is called."""
    token = _token(case, TELEGRAM)
    if isinstance(token, list):
        return token
    base = f"{case.settings.telegram_api}/bot{token.get_secret_value()}"
    async with httpx.AsyncClient(timeout=PATIENCE_S) as http:
        me = await _ask(case, TELEGRAM, http, f"{base}/getMe")
        if me.body is None:
            return [*me.findings]
        webhook = await _ask(case, TELEGRAM, http, f"{base}/getWebhookInfo")
    bot = me.body.get("result", {})
    return [
        fine("telegram.token", texts.TOKEN_GOOD, bot=f"@{bot.get('username')}"),
        *_modes(bot),
        *_calls(case, (webhook.body or {}).get("result", {})),
        *me.findings,
    ]


async def check_discord(case: Case) -> list[Finding]:
    """The token."""
    token = _token(case, DISCORD)
    if isinstance(token, list):
        return token
    headers = {"Authorization": f"Bot {token.get_secret_value()}"}
    # Unlike Telegram's, Discord's library heeds no proxy of the environment.
    async with httpx.AsyncClient(timeout=PATIENCE_S, headers=headers, trust_env=False) as http:
        me = await _ask(case, DISCORD, http, f"{case.settings.discord_api}/users/@me")
    if me.body is None:
        return [*me.findings]
    return [
        fine("discord.token", texts.TOKEN_GOOD, bot=me.body.get("username")),
        *me.findings,
    ]


def _token(case: Case, platform: Platform) -> SecretStr | list[Finding]:
    """The token, or what to say where it is none that can be asked about."""
    name = f"{platform.name.casefold()}.token"
    if missing := case.needs(name, platform.token, platform.api):
        return missing
    token: SecretStr | None = getattr(case.settings, platform.token)
    if token is None:
        said, values = texts.TOKEN_NONE, {"platform": platform.name}
        return [skipped(name, said, variable=variable(platform.token), **values)]
    return token


async def _ask(case: Case, platform: Platform, http: httpx.AsyncClient, url: str) -> Answer:
    """Ask a platform; the address, which may hold the token, is shown nowhere."""
    name = f"{platform.name.casefold()}.token"
    place = place_of(getattr(case.settings, platform.api))
    values: dict[str, object] = {"platform": platform.name, "place": place}
    try:
        answer = await http.get(url)
    except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
        said, remedy = texts.PLATFORM_AWAY, texts.PLATFORM_AWAY_DO
        values |= {"why": why_away(error), "seconds": f"{PATIENCE_S:.0f}"}
        values |= {"variable": variable(platform.api)}
        return Answer(findings=(wrong(name, said, remedy, **values),))
    if answer.status_code in _REFUSED:
        said, values = texts.TOKEN_REFUSED, values | {"variable": variable(platform.token)}
        return Answer(findings=(wrong(name, said, platform.new_token, **values),))
    body = _read(answer)
    if body is None:
        said, remedy = texts.PLATFORM_ODD, texts.PLATFORM_ODD_DO
        values |= {"status": answer.status_code, "variable": variable(platform.api)}
        return Answer(findings=(warning(name, said, remedy, **values),))
    clocks = compare_date(platform.name, answer.headers.get("Date"), time.time)
    return Answer(body=body, findings=tuple(clocks))


def _read(answer: httpx.Response) -> Any:
    """The JSON object that was answered; None if that is none."""
    try:
        body = answer.json() if answer.is_success else None
    except ValueError:
        return None
    return body if isinstance(body, dict) else None


def _modes(bot: Mapping[str, Any]) -> list[Finding]:
    """What BotFather was told of the bot."""
    if bot.get("can_read_all_group_messages"):
        said, remedy = texts.PRIVACY_OFF, texts.PRIVACY_OFF_DO
        found = [warning("telegram.privacy", said, remedy)]
    else:
        found = [fine("telegram.privacy", texts.PRIVACY_ON)]
    if not bot.get("supports_inline_queries"):
        said, remedy, name = texts.INLINE_OFF, texts.INLINE_OFF_DO, bot.get("username")
        # Not everybody wants it, so it is no warning.
        found.append(skipped("telegram.inline", said, remedy, bot=name))
    return found


def _calls(case: Case, info: Mapping[str, Any]) -> list[Finding]:
    """Whether Telegram calls where it should, and gets through."""
    settings, now = case.settings, info.get("url", "")
    wanted = "" if settings.webhook_url is None else f"{settings.webhook_url}{PATH}"
    if "webhook_url" in case.unusable or not (wanted or now):
        return []
    shown = place_of(now or wanted)
    if not now:
        return [skipped("telegram.webhook", texts.WEBHOOK_NOT_YET, place=shown)]
    if now != wanted:
        said, remedy = texts.WEBHOOK_FOREIGN, texts.WEBHOOK_FOREIGN_DO
        return [warning("telegram.webhook", said, remedy, place=shown)]
    pending, why = info.get("pending_update_count", 0), info.get("last_error_message")
    if why and pending:
        said, remedy = texts.WEBHOOK_FAILS, texts.WEBHOOK_FAILS_DO
        values = {"place": shown, "why": why, "pending": pending}
        listen = settings.listen_address
        return [warning("telegram.webhook", said, remedy, listen=listen, **values)]
    return [fine("telegram.webhook", texts.WEBHOOK_FINE, place=shown, pending=pending)]

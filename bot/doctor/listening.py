"""The address that a bot listens at, and the public one that is to lead there."""

import asyncio
import errno
import ipaddress
import os
import socket
from contextlib import suppress
from http import HTTPStatus

import httpx

from bot import texts
from bot.doctor.finding import Finding, fine, skipped, warning, wrong
from bot.doctor.place import PATIENCE_S, place_of
from bot.doctor.variables import Case
from bot.settings import BotSettings
from bot.telegram.webhook import PATH

_ANYWHERE = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - to ask ourselves
"""Where to ask what listens everywhere."""


async def check_listening(case: Case) -> list[Finding]:
    """Whether the address is free, or one of ours has it already."""
    if missing := case.needs("listen.address", "listen", "webhook_url"):
        return missing
    address = case.settings.listen_address
    if address is None:
        return [skipped("listen.address", texts.LISTEN_NOWHERE)]
    host, _, port = address.rpartition(":")
    host = host.strip("[]")
    if await _is_ours(_ANYWHERE.get(host, host), int(port)):
        return [fine("listen.address", texts.LISTEN_OURS, place=address)]
    try:
        await _try_to_listen(host, int(port))
    except OSError as error:
        return [_impossible(address, error)]
    return [fine("listen.address", texts.LISTEN_FREE, place=address)]


def _impossible(address: str, error: OSError) -> Finding:
    if error.errno == errno.EADDRINUSE:
        said, remedy = texts.LISTEN_TAKEN, texts.LISTEN_TAKEN_DO
        return wrong("listen.address", said, remedy, place=address)
    said, remedy = texts.LISTEN_IMPOSSIBLE, texts.LISTEN_IMPOSSIBLE_DO
    is_unknown = isinstance(error, socket.gaierror)
    why = texts.WHY_NO_HOST if is_unknown else os.strerror(error.errno or 0)
    return wrong("listen.address", said, remedy, place=address, why=why)


async def _is_ours(host: str, port: int) -> bool:
    """Whether what listens there, if anything does, answers for its health as we do."""
    shown = f"[{host}]" if ":" in host else host
    with suppress(httpx.HTTPError, httpx.InvalidURL, OSError):
        async with httpx.AsyncClient(timeout=PATIENCE_S, trust_env=False) as http:
            answer = await http.get(f"http://{shown}:{port}/healthz")
            return answer.status_code == HTTPStatus.OK
    return False


async def _try_to_listen(host: str, port: int) -> None:
    """Listen there for a moment, and answer nobody.

    Raises:
        OSError: that is not possible.
    """
    server = await asyncio.start_server(_hang_up, host or None, port)
    server.close()
    await server.wait_closed()


async def _hang_up(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.close()


async def check_public_address(case: Case) -> list[Finding]:
    """Whether the address that Telegram is to call can be one."""
    settings = case.settings
    if "webhook_url" in case.unusable or settings.webhook_url is None:
        return []
    findings = [await _host(settings, settings.webhook_url)]
    if settings.webhook_url.endswith(PATH):
        said, remedy = texts.WEBHOOK_URL_DOUBLED, texts.WEBHOOK_URL_DOUBLED_DO
        findings.append(warning("listen.path", said, remedy))
    return findings


async def _host(settings: BotSettings, url: str) -> Finding:
    """Whether its host is known, and one that Telegram reaches."""
    host = place_of(url).host
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, None)
    except OSError:
        said, remedy = texts.WEBHOOK_URL_LOST, texts.WEBHOOK_URL_LOST_DO
        return warning("listen.public", said, remedy, host=host)
    addresses = [ipaddress.ip_address(str(entry[4][0]).partition("%")[0]) for entry in found]
    if not place_of(settings.telegram_api).is_here and not any(
        each.is_global for each in addresses
    ):
        said, remedy = texts.WEBHOOK_URL_PRIVATE, texts.WEBHOOK_URL_PRIVATE_DO
        return wrong("listen.public", said, remedy, host=host)
    return fine("listen.public", texts.WEBHOOK_URL_FITS, host=host)

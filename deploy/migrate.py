"""Bring the anthology's tables up to date, and end: before the processes that use them start.

They would do so themselves, one at a time. Done beforehand, a migration that fails is seen before
anything was restarted.
"""

import asyncio
import sys

from bot.anthology import Anthology
from bot.errors import AnthologyError
from bot.settings import BotSettings
from engine.settings import SettingsError, load_settings


async def migrate() -> None:
    """Open the anthology, which is what brings it up to date."""
    settings = load_settings(BotSettings)
    async with Anthology.open(settings.anthology_url, settings.pseudonyms) as anthology:
        await anthology.ping()


if __name__ == "__main__":
    try:
        asyncio.run(migrate())
    except (AnthologyError, SettingsError) as error:
        sys.exit(str(error))

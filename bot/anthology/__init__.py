"""The anthology: the lasting record of chats, of the poems shown to them, and of what people think.

SQLite in the data folder, or PostgreSQL. People and chats stand in it under pseudonyms, poems by
their words; of what people write it holds nothing but what their poems do. Only of chats that want
a poem a day it knows the name under which one can post there.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from bot.anthology.chats import Chats
from bot.anthology.curation import Curation
from bot.anthology.database import Database
from bot.anthology.people import People
from bot.anthology.poems import Poems
from bot.anthology.ratings import Ratings
from bot.anthology.schedules import Schedules
from bot.pseudonyms import Pseudonyms


class Anthology:
    """The anthology, open.

    Every call waits a few seconds for a database that is away, then raises AnthologyError.
    """

    def __init__(self, database: Database) -> None:
        """Read and write `database`. Most callers want `open`."""
        self._database = database
        self.chats = Chats(database)
        self.poems = Poems(database)
        self.ratings = Ratings(database)
        self.people = People(database)
        self.curation = Curation(database)
        self.schedules = Schedules(database)

    @classmethod
    @asynccontextmanager
    async def open(cls, url: str, pseudonyms: Pseudonyms) -> AsyncIterator["Anthology"]:
        """Open the anthology at `url`, with its tables brought up to date.

        Raises:
            AnthologyError: the address is wrong, or the database does not answer.
        """
        async with Database.open(url, pseudonyms) as database:
            yield cls(database)

    async def ping(self) -> None:
        """Return once the database answers."""
        await self._database.ping()

"""How a database would go about what the anthology asks of it."""

import re
from collections.abc import Awaitable
from typing import Any

from sqlalchemy import event, text

from bot.anthology import Anthology
from bot.anthology.tables import Base

_READS = ("SELECT", "WITH", "DELETE", "UPDATE")
_TABLES = "|".join(Base.metadata.tables)
_WALK = re.compile(rf"(?:SCAN|Seq Scan on) ({_TABLES})\b")
"""How SQLite says, and how PostgreSQL, that a table is read from end to end."""


async def scans(anthology: Anthology, work: Awaitable[Any]) -> list[str]:
    """The steps of all queries in `work` that walk through a whole table.

    SQLite keeps no statistics unless told to, so an empty database is planned like a full one.
    PostgreSQL does, but can be asked to walk only where there is no other way.
    """
    engine = anthology.poems._database._engine
    asked: list[tuple[str, Any]] = []

    def note(_connection: Any, _cursor: Any, sql: str, parameters: Any, *_: Any) -> None:
        if sql.lstrip().startswith(_READS):
            asked.append((sql, parameters))

    event.listen(engine.sync_engine, "before_cursor_execute", note)
    try:
        await work
    finally:
        event.remove(engine.sync_engine, "before_cursor_execute", note)
    assert asked
    steps: list[str] = []
    explain = "EXPLAIN QUERY PLAN"
    async with engine.connect() as connection:
        if engine.dialect.name == "postgresql":
            explain = "EXPLAIN"
            await connection.execute(text("SET enable_seqscan = off"))
        for sql, parameters in asked:
            plan = await connection.exec_driver_sql(f"{explain} {sql}", parameters)
            steps += [row[-1] for row in plan]
    return [step for step in steps if _WALK.search(step)]

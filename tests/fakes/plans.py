"""How SQLite would go about what the anthology asks of it."""

import re
from collections.abc import Awaitable
from typing import Any

from sqlalchemy import event

from bot.anthology import Anthology
from bot.anthology.tables import Base

_READS = ("SELECT", "WITH", "DELETE", "UPDATE")
_TABLES = "|".join(Base.metadata.tables)


async def scans(anthology: Anthology, work: Awaitable[Any]) -> list[str]:
    """The steps of all queries in `work` that walk through a whole table.

    SQLite keeps no statistics unless told to, so an empty database is planned like a full one.
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
    async with engine.connect() as connection:
        for sql, parameters in asked:
            plan = await connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {sql}", parameters)
            steps += [row["detail"] for row in plan.mappings()]
    return [step for step in steps if re.match(rf"SCAN ({_TABLES})\b", step)]

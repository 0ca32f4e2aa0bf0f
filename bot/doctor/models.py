"""Models: whether an engine started here would take them.

Only an engine can tell, for it alone looks into tensors, and the bot loads none. So an engine is
asked, as a child; where none is installed, as in the bot's image, models are not ours to look at.
"""

import asyncio
import importlib.util
import json
import re
import sys
from asyncio.subprocess import PIPE
from collections.abc import Iterator
from contextlib import suppress

from bot import texts
from bot.doctor.data import check_disk
from bot.doctor.finding import Finding, fine, skipped, wrong
from bot.doctor.variables import Case
from engine.jobs import Cell
from engine.settings import EngineSettings

LIMIT_S = 30.0
"""How long an engine may take to look at its models; on a machine that has nothing to do, three."""

_COMPLAINT = re.compile(r"^error: ", re.MULTILINE)
_NO_MODEL = re.compile(rf"no ({'|'.join(Cell)}) model is installed")


def has_engine() -> bool:
    """Whether what an engine needs is installed here."""
    return importlib.util.find_spec("torch") is not None


async def check_models(case: Case) -> list[Finding]:
    """The champion of each cell that has one, and the disk they are on if it is one of its own."""
    if not has_engine():
        return [skipped("models.champions", texts.MODELS_ELSEWHERE)]
    if missing := case.needs("models.champions", *EngineSettings.model_fields):
        return missing
    said, complained = await _ask_engine(*Cell)
    findings = [*_sound(said), *_broken(complained)]
    if not findings:
        findings = [wrong("models.champions", texts.MODELS_NONE, texts.MODELS_NONE_DO)]
    if case.settings.models is not None:
        # Else they are in the data folder, whose disk another check looks at.
        findings.append(check_disk("models.disk", case.settings.models_folder))
    return findings


async def _ask_engine(*cells: Cell) -> tuple[str, str]:
    """What an engine says of the champions of `cells`, and what it complains about."""
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "engine", "inspect", "--json", *cells), stdout=PIPE, stderr=PIPE
    )
    try:
        said, complained = await child.communicate()
    finally:
        if child.returncode is None:
            with suppress(ProcessLookupError):
                child.kill()
            await child.wait()
    return said.decode(), complained.decode(errors="replace")


def _sound(said: str) -> Iterator[Finding]:
    for line in said.splitlines():
        found = json.loads(line)
        values = {"cell": found["cell"], "checkpoint": found["checkpoint"]}
        yield fine("models.champion", texts.MODEL_SOUND, **values)


def _broken(complained: str) -> Iterator[Finding]:
    for complaint in _COMPLAINT.split(complained)[1:]:
        # A terminal's width is not ours.
        why = " ".join(complaint.split())
        # A cell without a model is nothing to worry about: others write.
        if not _NO_MODEL.match(why):
            said, remedy = texts.MODEL_BROKEN, texts.MODEL_BROKEN_DO
            yield wrong("models.champion", said, remedy, why=why)

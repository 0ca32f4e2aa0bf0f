"""What was found, for people or as JSON; no secret stands in either."""

import asyncio
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import groupby

import typer
from rich.console import Console
from rich.text import Text as Line

from bot import texts
from bot.console.screen import broken
from bot.doctor.examination import SUBJECTS, examine
from bot.doctor.finding import Finding, Mark
from bot.doctor.variables import read_environment
from bot.language import Language
from engine import logs

_SIGNS = {
    Mark.FINE: ("✓", "green"),
    Mark.WARNING: ("!", "yellow"),
    Mark.WRONG: ("✗", "bold red"),
    Mark.SKIPPED: ("–", "dim"),
}
_INDENT = 4


def run(language: Language, *, as_json: bool) -> bool:
    """Look at everything and print what was found; False if something has to be put right."""
    reading = read_environment()
    # What a check cannot do is a finding; libraries need not say it again.
    logs.configure(level="ERROR", secrets=reading.secrets)
    findings = [*reading.findings, *asyncio.run(examine(reading.case))]
    findings.sort(key=lambda finding: list(SUBJECTS).index(finding.subject))
    hide = logs.redactor(reading.secrets)
    if as_json:
        typer.echo(hide(to_json(findings, language)))
    else:
        show(findings, language, secrets=reading.secrets)
    return is_well(findings)


def is_well(findings: Iterable[Finding]) -> bool:
    """Whether nothing has to be put right."""
    return all(finding.mark is not Mark.WRONG for finding in findings)


def to_json(findings: Sequence[Finding], language: Language) -> str:
    """All of it as one object."""
    entries = [
        {
            "name": finding.name,
            "mark": finding.mark,
            "said": finding.say(language),
            "remedy": finding.advise(language),
        }
        for finding in findings
    ]
    return json.dumps({"ok": is_well(findings), "findings": entries}, ensure_ascii=False)


def show(findings: Sequence[Finding], language: Language, *, secrets: Iterable[str]) -> None:
    """All of it for a person: by subject, and what to do below what is not well."""
    console = Console(highlight=False, markup=False)
    hide = logs.redactor(secrets)

    def line(text: str, style: str = "", indent: int = _INDENT, sign: str = "") -> None:
        width = console.width - indent if console.is_terminal else 1 << 16
        first, *rest = broken(hide(text), width).split("\n")
        lead = sign.rjust(indent - 1) + " " if sign else " " * indent
        console.print(Line(lead + first, style), soft_wrap=True)
        for more in rest:
            console.print(Line(" " * indent + more, style), soft_wrap=True)

    for subject, group in groupby(findings, key=lambda finding: finding.subject):
        line(SUBJECTS[subject].say(language), "bold", indent=0)
        for finding in group:
            sign, style = _SIGNS[finding.mark]
            line(finding.say(language), style, sign=sign)
            if (remedy := finding.advise(language)) is not None:
                line(remedy, sign="→", indent=_INDENT + 2)
    line("\n" + _summary(findings).say(language, **_counts(findings)), "bold", indent=0)


def _counts(findings: Iterable[Finding]) -> dict[str, int]:
    marks = Counter(finding.mark for finding in findings)
    return {"wrong": marks[Mark.WRONG], "warnings": marks[Mark.WARNING]}


def _summary(findings: Sequence[Finding]) -> texts.Text:
    if not is_well(findings):
        return texts.DOCTOR_ILL
    return texts.DOCTOR_NOTED if _counts(findings)["warnings"] else texts.DOCTOR_WELL

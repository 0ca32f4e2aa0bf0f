"""The environment becomes settings, also where some of it is wrong: that is hidden, and told."""

import difflib
import os
import stat
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from bot import texts
from bot.doctor.finding import Finding, fine, skipped, warning, wrong
from bot.settings import BotSettings
from engine.settings import PREFIX, secret_parts

OF_TRAINER = frozenset(
    {
        "corpus",
        "nightly_at",
        "nightly_zone",
        "nightly_hours",
        "nightly_threads",
        "signing_key",
    }
)
"""Settings that are the trainer's alone, of which nothing here knows more than that they exist."""

_FILE = "_FILE"
_SIMILAR = 0.8
_SECRET_MIN = 6
"""Characters of a secret that is looked for; one of three letters stands in every word."""
_EMPTY_IS_UNSET = frozenset(
    {"webhook_url", "webhook_secret", "words", "listen", "curators", "chats"}
)
_TOKENS = frozenset({"telegram_token", "discord_token"})
_HANDED_OVER = Path("/run/secrets")
"""Where containers find their secrets; nobody else is in there."""
_PATTERN_MISMATCH = "string_pattern_mismatch"


@dataclass(frozen=True, kw_only=True)
class Case:
    """What is to be looked at."""

    settings: BotSettings
    """The settings, with what is wrong left out."""
    unusable: frozenset[str] = frozenset()
    """The settings that were left out, by field."""

    def needs(self, name: str, *fields: str) -> list[Finding]:
        """What to say of the check `name` where one of these settings was left out."""
        missing = sorted(self.unusable & set(fields))
        if not missing:
            return []
        return [skipped(name, texts.DOCTOR_NEEDS_SETTING, variable=variable(missing[0]))]


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What became of the environment."""

    case: Case
    """What can be used."""
    findings: list[Finding]
    """What was noticed."""
    secrets: frozenset[str]
    """What must not be shown, also of what cannot be used."""


def variable(field: str) -> str:
    """The variable of a setting."""
    return f"{PREFIX}{field.upper()}"


def read_environment() -> Reading:
    """Read the environment; nothing that stands in it can make this fail."""
    present = _present()
    files, unreadable = _look_at_files(present)
    values, empty = _look_at_values(present)
    unusable = unreadable | empty
    settings, invalid = _load(unusable)
    findings = [*_unknown(), *_bare(present), *files, *values, *invalid]
    if not findings:
        findings = [fine("settings.variables", texts.VARIABLES_READ, count=len(_ours()))]
    case = Case(settings=settings, unusable=frozenset(unusable))
    secrets = frozenset(
        secret for secret in _secrets(present) | settings.secrets if len(secret) >= _SECRET_MIN
    )
    return Reading(case=case, findings=findings, secrets=secrets)


def is_exposed(path: Path) -> bool:
    """Whether whoever has an account on this machine may read a file, or look into a folder."""
    path = path.resolve()
    if path.is_relative_to(_HANDED_OVER):
        return False
    return bool(path.stat().st_mode & stat.S_IROTH) and all(
        parent.stat().st_mode & stat.S_IXOTH for parent in path.parents
    )


# --- names -----------------------------------------------------------------------------------


def _ours() -> list[str]:
    """The variables that are set and look like ours."""
    return sorted(name for name in os.environ if name.upper().startswith(PREFIX))


def _known() -> set[str]:
    """Every variable that there is."""
    names = {variable(field) for field in (*BotSettings.model_fields, *OF_TRAINER)}
    return names | {f"{name}{_FILE}" for name in names}


def _present() -> dict[str, str]:
    """What is set of ours and known, by the name as it should be written."""
    known = _known()
    return {name.upper(): os.environ[name] for name in _ours() if name.upper() in known}


def _unknown() -> Iterator[Finding]:
    known = _known()
    for name in _ours():
        if name.upper() in known:
            continue
        similar = difflib.get_close_matches(name.upper(), known, n=1, cutoff=_SIMILAR)
        if similar:
            remedy = texts.VARIABLE_TYPO_DO
            yield wrong(
                "settings.name", texts.VARIABLE_TYPO, remedy, variable=name, meant=similar[0]
            )
        else:
            remedy = texts.VARIABLE_UNKNOWN_DO
            yield warning("settings.name", texts.VARIABLE_TYPO, remedy, variable=name)


def _bare(present: Collection[str]) -> Iterator[Finding]:
    """A token whose prefix was forgotten."""
    for field in sorted(_TOKENS):
        bare, meant = field.upper(), variable(field)
        if bare in os.environ and not {meant, f"{meant}{_FILE}"} & set(present):
            said, remedy = texts.VARIABLE_BARE, texts.VARIABLE_BARE_DO
            yield warning("settings.prefix", said, remedy, variable=bare, meant=meant)


# --- values ----------------------------------------------------------------------------------


def _fields_of(present: Collection[str], *, in_files: bool) -> Iterator[tuple[str, str]]:
    """Each of the bot's settings that is set, with its variable; by value, or by a file's name."""
    for field in BotSettings.model_fields:
        name = f"{variable(field)}{_FILE if in_files else ''}"
        if name in present:
            yield field, name


def _look_at_files(present: dict[str, str]) -> tuple[list[Finding], set[str]]:
    """What is to be said of the files that hold settings, and the settings that are in none."""
    findings: list[Finding] = []
    unusable: set[str] = set()
    for field, name in _fields_of(present, in_files=True):
        if not present[name]:
            continue
        path = Path(present[name])
        try:
            text = path.read_text(encoding="utf-8").strip()
            exposed = _is_secret(field) and is_exposed(path)
        except (OSError, UnicodeDecodeError) as error:
            findings.append(_unreadable(name, error))
            unusable.add(field)
            continue
        if not text and field not in _EMPTY_IS_UNSET:
            said, remedy = texts.VARIABLE_EMPTY, texts.VARIABLE_EMPTY_DO
            findings.append(wrong("settings.empty", said, remedy, variable=name))
            unusable.add(field)
        if exposed:
            said, remedy = texts.FILE_EXPOSED, texts.FILE_EXPOSED_DO
            findings.append(warning("settings.exposed", said, remedy, path=path))
        if variable(field) in present:
            said, remedy = texts.VARIABLE_TWICE, texts.VARIABLE_TWICE_DO
            findings.append(warning("settings.twice", said, remedy, variable=variable(field)))
    return findings, unusable


def _unreadable(name: str, error: OSError | UnicodeDecodeError) -> Finding:
    why = error.strerror if isinstance(error, OSError) else "UTF-8?"
    said, remedy = texts.FILE_UNREADABLE, texts.FILE_UNREADABLE_DO
    return wrong("settings.file", said, remedy, variable=name, why=why)


def _look_at_values(present: dict[str, str]) -> tuple[list[Finding], set[str]]:
    """What is to be said of values that look odd, and the settings that have none."""
    findings: list[Finding] = []
    empty: set[str] = set()
    for field, name in _fields_of(present, in_files=False):
        value = present[name]
        if not value:
            if field in _EMPTY_IS_UNSET:
                continue
            mark = warning if field in _TOKENS else wrong
            said, remedy = texts.VARIABLE_EMPTY, texts.VARIABLE_EMPTY_DO
            findings.append(mark("settings.empty", said, remedy, variable=name))
            empty.add(field)
        elif value != value.strip() or (value[0] == value[-1] and value[0] in "\"'"):
            said, remedy = texts.VARIABLE_QUOTED, texts.VARIABLE_QUOTED_DO
            findings.append(wrong("settings.quoted", said, remedy, variable=name))
    return findings, empty


def _load(unusable: set[str]) -> tuple[BotSettings, list[Finding]]:
    """The settings without `unusable`, to which is added what turns out to be wrong."""
    findings: list[Finding] = []
    while True:
        try:
            with _hidden(unusable):
                return BotSettings(), findings
        except ValidationError as error:
            invalid = {
                str(entry["loc"][0]): _why(entry["type"], entry["msg"], str(entry["loc"][0]))
                for entry in error.errors(include_input=False, include_url=False)
            }
        new = invalid.keys() - unusable
        for field in sorted(new):
            said, remedy = texts.VARIABLE_INVALID, texts.VARIABLE_INVALID_DO
            findings.append(
                wrong("settings.value", said, remedy, variable=variable(field), why=invalid[field])
            )
        if not new:
            # What is usual is refused here, too: another check says why.
            return BotSettings.model_construct(), findings
        unusable |= new


def _why(kind: str, message: str, field: str) -> str:
    """Why a value is refused; where that would be a pattern, what the setting is."""
    if kind == _PATTERN_MISMATCH:
        description = BotSettings.model_fields[field].description or ""
        return " ".join(description.split())
    return message.removeprefix("Value error, ").partition(", unable")[0]


@contextmanager
def _hidden(fields: Collection[str]) -> Iterator[None]:
    """The environment without these settings."""
    names = {f"{variable(field)}{end}" for field in fields for end in ("", _FILE)}
    kept = {name: os.environ.pop(name) for name in _ours() if name.upper() in names}
    try:
        yield
    finally:
        os.environ.update(kept)


# --- secrets ---------------------------------------------------------------------------------


def _is_secret(field: str) -> bool:
    return "SecretStr" in str(BotSettings.model_fields[field].annotation)


def _secrets(present: dict[str, str]) -> set[str]:
    """Every secret that is set, usable or not, and the passwords in addresses."""
    found: set[str] = set()
    for field, name in _fields_of(present, in_files=False):
        if _is_secret(field):
            found.update(secret_parts(present[name].strip()))
    for field, name in _fields_of(present, in_files=True):
        if _is_secret(field) and present[name]:
            with suppress(OSError, UnicodeDecodeError):
                found.update(secret_parts(Path(present[name]).read_text(encoding="utf-8").strip()))
    return found

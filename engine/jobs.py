"""What crosses between chat and engine: a `Job` goes in, a `Poem` or a `Failure` comes out.

All three are frozen, keyword-only and versioned, and travel as JSON. This module imports neither
torch nor redis, so that every process can speak of jobs.
"""

import json
import re
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Annotated, Any, ClassVar, TypeVar

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic_core import PydanticSerializationError, from_json

from engine.verse.forms import FormName
from engine.verse.frame import glyphs_of, opening_frame
from engine.verse.script import clean, is_han

VERSION = 1
"""The version of the JSON below. A reader refuses one it does not know."""


TRY = "~"
"""In the id of a job that is put again, what stands between its cause and the number of the try."""

_DERIVED = re.compile(f"[{TRY}/]")
_STRICT = ConfigDict(extra="forbid", ser_json_inf_nan="constants")


def cause_of(name: str) -> str:
    """What it all comes from, by the id of a job or message: `tg:7` of `tg:7~2` and `tg:7/edit`.

    By this one word (`cause`) every log line of every process tells what it is about.
    """
    return _DERIVED.split(name, maxsplit=1)[0]


class JobError(ValueError):
    """A job or its outcome cannot be read."""


class Cell(StrEnum):
    """The recurrent cell of a model, which names its family."""

    RNN = "rnn"
    GRU = "gru"
    LSTM = "lstm"


USUAL_CELL = Cell.LSTM
"""What writes where nobody names a model: the bundled one with the lowest perplexity."""
USUAL_TEMPERATURE = 0.9
"""Where nobody names one. Of sixteen candidates at 0.9 the best are about as varied as Tang poems
are (docs/quality.md)."""


class Lane(StrEnum):
    """Where a job waits: people before machines."""

    CHAT = "chat"
    BULK = "bulk"


class Reason(StrEnum):
    """Why a job ended without a poem."""

    EXPIRED = "expired"
    """Its deadline passed before a slot was free."""
    NO_MODEL = "no_model"
    """The registry holds no champion of the cell asked for."""
    NO_TEMPLATE = "no_template"
    """No template of the form admits the opening."""
    BURIED = "buried"
    """It killed its worker again and again."""
    WITHHELD = "withheld"
    """The client may not show what was written; it says so itself, the engine never does."""
    INTERNAL = "internal"
    """The engine failed; the log says how."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """One request for one poem."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    id: str
    """A function of its cause (`tg:<update_id>`), so that the same cause is never two jobs."""
    client: str
    """Whose reply stream the outcome goes to."""
    chat: str
    """The chat it came from, the unit of fairness: `telegram:<id>`, `console`."""
    form: FormName
    """The form to write in."""
    cell: Cell
    """The model family to write with."""
    temperature: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    """Sampling temperature, above 0; under 1 is safer, over 1 is wilder."""
    seed: int
    """Seed of everything random; the same seed and number of candidates give the same poem."""
    opening: str = ""
    """Han characters the poem must begin with, as the person wrote them; may be empty."""
    frame: str = ""
    """What is fixed elsewhere (`engine.verse.frame`): an acrostic's heads, what a rewriting keeps.
    Empty where only the opening is; if there is one, `opening` is its beginning or empty."""
    unlike: str = ""
    """The characters of a poem that may not come again: the one that is to be rewritten."""
    rhyme: str | None = None
    """The rhyme group wanted, by its head character; None leaves it to the engine."""
    theme: str = ""
    """Han characters that say what the poem shall be about: 邊塞, 離別; may be empty."""
    count: int = 1
    """How many poems are wanted to choose from; they come in one outcome."""
    candidates: int | None = None
    """How many the engine writes to pick from; None leaves it to the engine's setting."""
    lane: Lane = Lane.CHAT
    """Where it waits."""
    deadline_ms: int | None = None
    """Unix time in milliseconds after which nobody waits for it any more."""
    context: dict[str, Any] = field(default_factory=dict)
    """What the client needs to deliver the outcome; the engine hands it back unread."""

    @property
    def glyphs(self) -> dict[int, str]:
        """The characters that the poem must have, as the person wrote them, by place from 0."""
        opening = "".join(char for char in clean(self.opening) if is_han(char))
        return glyphs_of(self.frame or opening_frame(self.form, opening))

    def to_json(self) -> str:
        """This job as JSON."""
        return _dump(self, _JOB)

    @staticmethod
    def from_json(text: str | bytes) -> "Job":
        """Read a job; JobError if it is no job of this version."""
        return _read(_JOB, _load(text, "Job"))

    def log_context(self) -> dict[str, object]:
        """What a log line may say of this job: nothing that a person wrote, nor who or where."""
        return {
            "cause": cause_of(self.id),
            "job": self.id,
            "form": self.form,
            "cell": self.cell,
        }


@dataclass(frozen=True, kw_only=True)
class Poem:
    """A finished poem, in traditional script but for the glyphs of the opening."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    job_id: str
    """The job it answers."""
    lines: tuple[str, ...]
    """Its lines without punctuation; the opening stands as the person wrote it."""
    form: FormName
    """The form it keeps."""
    rhyme: str
    """The 平水韵 group it rhymes in."""
    tones: tuple[str, ...]
    """Each line's tone classes: 平, 仄, 中 for a polyphone, ？ for a character not known."""
    cell: Cell
    """The family of the model that wrote it."""
    checkpoint: str
    """The id of the checkpoint that wrote it."""
    seed: int
    """The seed it was written with."""
    logprob: float
    """Natural log of the probability of the characters that the model chose, among those that the
    rules admit at each place."""
    others: tuple["Poem", ...] = ()
    """Where several were wanted, the rest of them, without a context of their own."""
    context: dict[str, Any] = field(default_factory=dict)
    """The job's context, unread."""

    @property
    def text(self) -> str:
        """The poem as print has it, with ， and 。 at the line ends."""
        return "".join(line + ("，", "。")[index % 2] for index, line in enumerate(self.lines))

    def to_json(self) -> str:
        """This poem as JSON."""
        return _dump(self, _POEM)


@dataclass(frozen=True, kw_only=True)
class Failure:
    """The outcome of a job that could not become a poem."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    job_id: str
    """The job it answers."""
    reason: Reason
    """Why."""
    detail: str = ""
    """For the log; people are told by `reason` in their own language."""
    context: dict[str, Any] = field(default_factory=dict)
    """The job's context, unread."""

    def to_json(self) -> str:
        """This failure as JSON."""
        return _dump(self, _FAILURE)


Outcome = Poem | Failure
Value = TypeVar("Value", Job, Poem, Failure)


def outcome_from_json(text: str | bytes) -> Outcome:
    """Read what came back for a job; JobError if it is no outcome of this version."""
    fields = _load(text, "Poem", "Failure")
    return _read(_FAILURE, fields) if "reason" in fields else _read(_POEM, fields)


_JOB, _POEM, _FAILURE = TypeAdapter(Job), TypeAdapter(Poem), TypeAdapter(Failure)


def _read(kind: TypeAdapter[Value], fields: dict[str, Any]) -> Value:
    try:
        return kind.validate_python(fields)
    except ValidationError as error:
        found = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(map(str, found["loc"]))
        raise JobError(f"{where}: {found['msg']}") from None


def _dump(value: Value, kind: TypeAdapter[Value]) -> str:
    try:
        fields = kind.dump_json(value, warnings=False).decode()
    except PydanticSerializationError:
        # A context may hold a lone surrogate, which UTF-8 cannot, but ASCII can.
        fields = json.dumps(vars(value), default=_fields)
    return f'{{"version":{VERSION},"kind":"{type(value).__name__}",{fields[1:]}'


def _fields(value: object) -> dict[str, Any]:
    """What stands in an outcome beside its own fields: further poems."""
    if isinstance(value, Poem):
        return vars(value)
    raise TypeError(f"{type(value).__name__} is not JSON")


def _load(text: str | bytes, *kinds: str) -> dict[str, Any]:
    try:
        fields = _parse(text)
    except (ValueError, RecursionError) as error:
        raise JobError(f"not JSON: {error}") from error
    if not isinstance(fields, dict) or fields.pop("kind", None) not in kinds:
        raise JobError(f"not a {' or '.join(kinds)}")
    if (version := fields.pop("version", None)) != VERSION:
        raise JobError(f"version {version} is not {VERSION}")
    return fields


def _parse(text: str | bytes) -> Any:
    try:
        return from_json(text)
    except ValueError:
        # It may still be JSON, with a lone surrogate in it.
        return json.loads(text)

"""A request becomes a job in the engine's queue."""

from dataclasses import asdict, dataclass, replace
from hashlib import blake2b
from typing import Any, Self

from bot.language import Language, Script
from bot.message import Address, Incoming, Tap
from bot.requests import PoemRequest
from bot.style import Style
from bot.trace import Trace
from engine.jobs import Job, Lane, Poem

PATIENCE_MS = 60_000
"""How long a person waits for a poem; the engine drops the job after that and says so."""

_TRY = "~"
# Under this name a job travels in its own context, beside the fields of `Context`.
_RECIPE = "again"


@dataclass(frozen=True, kw_only=True)
class Context:
    """What delivery must know of a request; it travels with the job and comes back."""

    address: Address
    """Where the poem belongs."""
    language: Language
    """The person's language."""
    script: Script
    """The script to show the poem in."""
    glyphs: str
    """The opening or the frame (`engine.verse.frame`) just as it was typed."""
    temperature: float
    """The temperature it was written at."""
    person: str | None = None
    """Who asked, with the platform."""
    theme: str = ""
    """What the poem was asked to be about."""
    rhyme: str | None = None
    """The rhyme group that was asked for, if any."""
    heading: str = ""
    """A line to stand above the poem; may be empty."""
    until_ms: int | None = None
    """Of a poem that nobody asked for: the Unix time in ms until which it is worth showing."""
    trace: Trace | None = None
    """What is known of the update."""

    def to_fields(self) -> dict[str, Any]:
        """This context as a job carries it."""
        return asdict(self)

    @classmethod
    def from_fields(cls, fields: dict[str, Any]) -> Self:
        """Read what `to_fields` wrote.

        Raises:
            KeyError, TypeError, ValueError: it is no such context.
        """
        return cls(
            address=Address(**fields["address"]),
            language=Language(fields["language"]),
            script=Script(fields["script"]),
            glyphs=str(fields["glyphs"]),
            temperature=float(fields["temperature"]),
            person=fields.get("person"),
            theme=str(fields.get("theme", "")),
            rhyme=fields.get("rhyme"),
            heading=str(fields.get("heading", "")),
            until_ms=fields.get("until_ms"),
            trace=Trace.from_fields(fields["trace"]) if fields.get("trace") else None,
        )


def seed_of(cause: str) -> int:
    """The seed of whatever follows from one cause: the same update gives the same poem."""
    return int.from_bytes(blake2b(cause.encode(), digest_size=4).digest())


def make_job(
    request: PoemRequest, asked: Incoming | Tap, style: Style, *, client: str, now_ms: int
) -> Job:
    """The job that answers what was `asked`, for the reply stream of `client`."""
    context = Context(
        address=asked.address,
        language=asked.language,
        script=request.script,
        glyphs=request.glyphs,
        temperature=style.temperature,
        person=asked.person,
        theme=request.theme,
        rhyme=request.rhyme,
        trace=asked.trace and replace(asked.trace, asked_ms=now_ms),
    )
    deadline_ms = now_ms + PATIENCE_MS
    return job_for(
        request, context, style, cause=asked.cause, client=client, deadline_ms=deadline_ms
    )


def job_for(
    request: PoemRequest,
    context: Context,
    style: Style,
    *,
    cause: str,
    client: str,
    deadline_ms: int,
    lane: Lane = Lane.CHAT,
) -> Job:
    """The job that `cause` has, for the reply stream of `client`."""
    job = Job(
        id=cause,
        client=client,
        chat=context.address.chat,
        form=request.form,
        cell=style.cell,
        temperature=style.temperature,
        seed=seed_of(cause),
        opening=request.opening,
        frame=request.frame,
        unlike=request.unlike,
        rhyme=request.rhyme,
        theme=request.theme,
        count=request.count,
        lane=lane,
        deadline_ms=deadline_ms,
    )
    # Only the job itself knows all that it takes to put it again.
    return replace(job, context=context.to_fields() | {_RECIPE: job.to_json()})


def next_try(poem: Poem, *, at_most: int) -> Job | None:
    """The job that wrote `poem`, to be put again with another seed, under an id of its own.

    None where it was put again `at_most` times already, or nothing tells what was asked for.
    """
    cause, _, tries = poem.job_id.partition(_TRY)
    number = int(tries or 1)
    if number > at_most or _RECIPE not in poem.context:
        return None
    name = f"{cause}{_TRY}{number + 1}"
    job = Job.from_json(poem.context[_RECIPE])
    return replace(job, id=name, seed=seed_of(name), context=poem.context)

"""The tables of the anthology.

People and chats stand in them under pseudonyms (`bot.pseudonyms`), never under their own numbers.
"""

from datetime import UTC, date, datetime, time
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Date,
    DateTime,
    Dialect,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    SmallInteger,
    Time,
    TypeDecorator,
    text,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from engine.jobs import Cell, Poem
from engine.verse.checker import tone_marks
from engine.verse.forms import FormName

STARS = range(1, 6)
"""What a curator can give."""

SEVERAL_STARRED = "stars1 + stars2 + stars3 + stars4 + stars5 > 1"
"""Of standings: of poems that several people gave stars. Written as in its index, or PostgreSQL
does not use that."""


class Moment(TypeDecorator[datetime]):
    """A time in UTC, also where the database forgets time zones (SQLite)."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Give the zone back."""
        return value.replace(tzinfo=UTC) if value is not None and value.tzinfo is None else value


class Base(DeclarativeBase):
    """The tables; constraints have names, so that migrations can speak of them."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s",
            "pk": "pk_%(table_name)s",
        }
    )


class ChatRow(Base):
    """A chat that changed a setting or was shown a poem."""

    __tablename__ = "chats"

    id: Mapped[str] = mapped_column(primary_key=True)
    """The chat's pseudonym."""
    cell: Mapped[str]
    """The model family of its style."""
    temperature: Mapped[float]
    """The temperature of its style."""
    form: Mapped[str | None]
    """The form of its style; none where each poem chooses."""
    language: Mapped[str]
    """The language last spoken there, for messages that nobody asked for."""
    created: Mapped[datetime] = mapped_column(Moment)
    """When it came."""
    chosen_language: Mapped[str | None]
    """The language that it chose for everybody; none where each person's own is spoken."""
    chosen_script: Mapped[str | None]
    """The script that it chose for all poems; none where each request decides."""
    admins_curate: Mapped[bool]
    """Whether its admins rate as curators do."""


class PoemRow(Base):
    """A poem that was written for a chat."""

    __tablename__ = "poems"
    __table_args__ = (
        # With what the debuts of checkpoints are told from.
        Index("ix_poems_shown_at", "shown_at", "cell", "checkpoint"),
        Index("ix_poems_chat_shown_at", "chat", "shown_at"),
        Index("ix_poems_asker_shown_at", "asker", "shown_at"),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    """The id of its job, with its number where that is not 1: `tg:5`, `tg:5#2`."""
    job: Mapped[str] = mapped_column(index=True)
    """The id of its job, which those to choose from share."""
    number: Mapped[int]
    """Its place among them, from 1."""
    chat: Mapped[str] = mapped_column(
        ForeignKey("chats.id", onupdate="CASCADE", ondelete="CASCADE")
    )
    """The chat it was written for."""
    lines: Mapped[list[str]] = mapped_column(JSON)
    """Its lines, without punctuation, as the engine gave them."""
    form: Mapped[str]
    """Its form."""
    rhyme: Mapped[str]
    """Its rhyme group."""
    cell: Mapped[str]
    """The family of the model that wrote it."""
    checkpoint: Mapped[str]
    """The checkpoint that wrote it."""
    seed: Mapped[int] = mapped_column(BigInteger)
    """The seed it was written with."""
    temperature: Mapped[float]
    """The temperature it was written at."""
    logprob: Mapped[float]
    """Natural log of its probability."""
    opening: Mapped[str]
    """What it was asked to begin with, or the frame it was written in, as typed."""
    script: Mapped[str]
    """The script it is shown in."""
    language: Mapped[str]
    """The language of what is said around it."""
    shown_at: Mapped[datetime | None] = mapped_column(Moment)
    """When it was shown; none where it never was."""
    picked_at: Mapped[datetime | None] = mapped_column(Moment)
    """When it was picked from several; none where it was not."""
    asker: Mapped[str | None]
    """Who asked for it; none where nobody did, or nobody knows."""
    theme: Mapped[str]
    """What it was asked to be about; may be empty."""
    wanted_rhyme: Mapped[str | None]
    """The rhyme group that was asked for, if any."""

    @property
    def poem(self) -> Poem:
        """The poem as the engine gave it."""
        return Poem(
            job_id=self.job,
            lines=tuple(self.lines),
            form=FormName(self.form),
            rhyme=self.rhyme,
            tones=tuple(map(tone_marks, self.lines)),
            cell=Cell(self.cell),
            checkpoint=self.checkpoint,
            seed=self.seed,
            logprob=self.logprob,
        )


class ShowingRow(Base):
    """A message that shows a poem: what a reaction to it is about."""

    __tablename__ = "showings"

    chat: Mapped[str] = mapped_column(
        ForeignKey("chats.id", onupdate="CASCADE", ondelete="CASCADE"), primary_key=True
    )
    """The chat it is in."""
    message: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    """The platform's number of the message."""
    job: Mapped[str] = mapped_column(index=True)
    """The job whose poems it shows."""


class RatingRow(Base):
    """What one person thinks of one poem. Checkpoint, cell, style and seed are the poem's."""

    __tablename__ = "ratings"
    __table_args__ = (
        Index("ix_ratings_rater_at", "rater", "at"),
        # Few of many ratings have stars.
        Index(
            "ix_ratings_poem_stars",
            "poem",
            "stars",
            sqlite_where=text("stars IS NOT NULL"),
            postgresql_where=text("stars IS NOT NULL"),
        ),
    )

    poem: Mapped[str] = mapped_column(ForeignKey("poems.id", ondelete="CASCADE"), primary_key=True)
    """The poem."""
    rater: Mapped[str] = mapped_column(primary_key=True)
    """The person's pseudonym."""
    vote: Mapped[int | None] = mapped_column(SmallInteger)
    """1 for 👍, -1 for 👎; none where only stars were given."""
    stars: Mapped[int | None] = mapped_column(SmallInteger)
    """1 to 5, by a curator; none where only a vote was given."""
    platform: Mapped[str]
    """The platform it was given on."""
    chat: Mapped[str] = mapped_column(index=True)
    """The pseudonym of the chat it was given in."""
    at: Mapped[datetime] = mapped_column(Moment, index=True)
    """When it was given or last changed."""


class StandingRow(Base):
    """What the ratings of one poem come to.

    Triggers of the database keep it (`bot.migrations.versions.v0006_standings`), whoever changes,
    forgets or undoes ratings; the program only reads. Where SQLite changes `ratings` or `poems` by
    copying them, their triggers have to be made again.
    """

    __tablename__ = "standings"
    __table_args__ = (
        Index("ix_standings_chat", "chat", "standing", "ratings", "shown_at"),
        # On few of many poems do curators agree or disagree.
        Index(
            "ix_standings_stars",
            *("stars1", "stars2", "stars3", "stars4", "stars5"),
            sqlite_where=text(SEVERAL_STARRED),
            postgresql_where=text(SEVERAL_STARRED),
        ),
    )

    poem: Mapped[str] = mapped_column(ForeignKey("poems.id", ondelete="CASCADE"), primary_key=True)
    """The poem."""
    chat: Mapped[str]
    """The chat that it was written for."""
    shown_at: Mapped[datetime | None] = mapped_column(Moment)
    """When it was shown; none where it never was."""
    ratings: Mapped[int]
    """How many ratings it has."""
    worth: Mapped[float]
    """What they are worth together (`bot.anthology.ratings.WORTH`)."""
    up: Mapped[int]
    """How many gave 👍."""
    stars1: Mapped[int]
    """How many gave one star."""
    stars2: Mapped[int]
    """How many gave two."""
    stars3: Mapped[int]
    """How many gave three."""
    stars4: Mapped[int]
    """How many gave four."""
    stars5: Mapped[int]
    """How many gave five."""
    standing: Mapped[float]
    """How good it is thought to be (`bot.anthology.poems.PRIOR_RATINGS`)."""


class DayRow(Base):
    """What was thought of one cell's poems on a day that is over.

    Counted when it is first asked for: who is forgotten later, or thinks otherwise, did rate then.
    What is undone is taken out.
    """

    __tablename__ = "days"

    day: Mapped[date] = mapped_column(Date, primary_key=True)
    """The day, of UTC."""
    cell: Mapped[str] = mapped_column(primary_key=True)
    """The cell."""
    ratings: Mapped[int]
    """How many ratings of its poems were given or changed."""
    worth: Mapped[float]
    """What they are worth together (`bot.anthology.ratings.WORTH`)."""


class SkipRow(Base):
    """A poem that a curator did not want to rate, and is not shown again."""

    __tablename__ = "skips"
    __table_args__ = (Index("ix_skips_rater_at", "rater", "at"),)

    poem: Mapped[str] = mapped_column(ForeignKey("poems.id", ondelete="CASCADE"), primary_key=True)
    """The poem."""
    rater: Mapped[str] = mapped_column(primary_key=True)
    """The curator's pseudonym."""
    at: Mapped[datetime] = mapped_column(Moment)
    """When they did."""


class ConsentRow(Base):
    """Whether a person lets their ratings train the model."""

    __tablename__ = "consents"

    rater: Mapped[str] = mapped_column(primary_key=True)
    """The person's pseudonym."""
    version: Mapped[int] = mapped_column(Integer)
    """Of the text they were asked with."""
    language: Mapped[str]
    """The language they were asked in."""
    asked_at: Mapped[datetime] = mapped_column(Moment)
    """When they were asked."""
    given: Mapped[bool | None]
    """What they answered last; none where they have not."""
    answered_at: Mapped[datetime | None] = mapped_column(Moment)
    """When they did."""


class ScheduleRow(Base):
    """When a chat, or a topic of it, gets its poem of the day."""

    __tablename__ = "schedules"
    __table_args__ = (
        Index("ix_schedules_chat", "chat", "thread", unique=True),
        Index("ix_schedules_due_at", "platform", "due_at"),
    )

    id: Mapped[int] = mapped_column(BigInteger().with_variant(Integer, "sqlite"), primary_key=True)
    """Counts up; stays the same where the chat moves."""
    chat: Mapped[str] = mapped_column(
        ForeignKey("chats.id", onupdate="CASCADE", ondelete="CASCADE")
    )
    """The pseudonym of the chat."""
    thread: Mapped[int] = mapped_column(BigInteger)
    """The topic; 0 where it is for the chat as such."""
    platform: Mapped[str]
    """The platform that posts it."""
    address: Mapped[str | None]
    """The chat under its own name, without which nobody could post there unasked. The one place
    that holds such a name; empty while nothing is posted."""
    at: Mapped[time] = mapped_column(Time)
    """The wall time."""
    zone: Mapped[str]
    """The zone of that time, by its IANA name."""
    since: Mapped[datetime] = mapped_column(Moment)
    """When it was set: what was due before is not wanted."""
    posted: Mapped[list[str]] = mapped_column(JSON)
    """The last local dates that it was posted for, in ISO 8601."""
    due_at: Mapped[datetime | None] = mapped_column(Moment)
    """When to look at it next; none while nothing is posted."""
    paused_at: Mapped[datetime | None] = mapped_column(Moment)
    """When posting ended; none while it goes on."""
    paused_because: Mapped[str | None]
    """Why it did (`bot.anthology.schedules.Pause`)."""


class AuditRow(Base):
    """One thing that was done to ratings, consents or models, and by whom. Never changed.

    Forgetting a person takes their pseudonym out of it, and nothing else ever touches a row.
    """

    __tablename__ = "audit"

    id: Mapped[int] = mapped_column(BigInteger().with_variant(Integer, "sqlite"), primary_key=True)
    """Counts up."""
    at: Mapped[datetime] = mapped_column(Moment, index=True)
    """When."""
    action: Mapped[str]
    """What: `undo`, `forget`, `consent`, `rollback` …"""
    actor: Mapped[str | None] = mapped_column(index=True)
    """The pseudonym of whoever did it; none for the operator, and for who is forgotten."""
    subject: Mapped[str | None] = mapped_column(index=True)
    """The pseudonym of the person or chat it was done to, where that is somebody else."""
    detail: Mapped[dict[str, Any]] = mapped_column(JSON)
    """Figures: no pseudonym, which nobody could find again there, and nothing a person wrote."""

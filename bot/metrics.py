"""What a bot counts and measures, as Prometheus reads it (docs/admins.md tells what each is for).

Labels have few values, all known beforehand: no person, no chat, no text. Each of their
combinations is there from the start, at 0, so that the first of a kind shows as a rise.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from http import HTTPStatus
from math import nan

from prometheus_client import Counter, Gauge, Histogram

from bot.buttons import Verb
from bot.commands import COMMAND_NAMES
from bot.message import UpdateKind
from engine.metrics import new_registry

ANSWER_S = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
"""Upper ends of the histogram's buckets: from what seems immediate to what nobody waits for."""


class Kind(StrEnum):
    """What a message shows."""

    POEM = "poem"
    """A poem, or several."""
    REPLY = "reply"
    """Something said in words."""
    CARD = "card"
    """The picture of a poem."""


class Fate(StrEnum):
    """What became of a message."""

    SHOWN = "shown"
    """The platform has shown it."""
    UNSURE = "unsure"
    """The platform's answer was lost; it is not sent again."""
    REFUSED = "refused"
    """The platform will never show it."""
    LATE = "late"
    """Nobody had asked for it, and nobody would want to see it any more."""


class PostResult(StrEnum):
    """What became of a poem of the day: the fate of its message, or why it never had one."""

    SHOWN = Fate.SHOWN
    UNSURE = Fate.UNSURE
    REFUSED = Fate.REFUSED
    LATE = Fate.LATE
    FAILED = "failed"
    """The engine wrote none."""
    SKIPPED = "skipped"
    """Its day was over before anybody could begin it."""


class RequestResult(StrEnum):
    """What became of a request to the platform."""

    OK = "ok"
    """It did what was asked."""
    FLOOD = "flood"
    """It wants us to wait (429)."""
    REFUSED = "refused"
    """It will not do it."""
    UNSURE = "unsure"
    """It failed, or did not answer."""


class Box(StrEnum):
    """Where what nobody can deal with is found."""

    INBOX = "inbox"
    """Updates."""
    OUTBOX = "outbox"
    """Messages."""


class Rating(StrEnum):
    """How somebody said what a poem is worth to them."""

    VOTE = "vote"
    """By a button below it."""
    REACTION = "reaction"
    """By a reaction to it."""
    STARS = "stars"
    """As a curator."""


COMMANDS = tuple(sorted({*COMMAND_NAMES, *Verb}))
"""What can be wanted, by word or by button; buttons are called like commands that do the same."""


@dataclass(frozen=True, kw_only=True)
class Standing:
    """How things are at the moment at which somebody looks; NaN stands for what nobody knows."""

    inbox: float = nan
    """Updates that wait to be dealt with."""
    outbox: float = nan
    """Messages that wait to be shown."""
    halt_s: float = nan
    """Seconds for which the platform still wants us to wait."""
    engines: float = nan
    """Engines that live."""


class Metrics:
    """The metrics of one bot, in a registry of its own."""

    def __init__(self, platform: str) -> None:
        """Count for `platform`; nothing has happened yet."""
        self.platform = platform
        self.registry = new_registry()
        self._updates = self._counter("updates", "Updates taken in hand.", kind=UpdateKind)
        self._commands = self._counter(
            "commands", "Commands and taps understood.", command=COMMANDS
        )
        self._answers = self._counter("answers", "Updates answered.", kind=Kind)
        self._answer_s = Histogram(
            "yuefu_answer_seconds",
            "From an update in the inbox to its answer on the screen.",
            ["platform", "kind"],
            buckets=ANSWER_S,
            registry=self.registry,
        )
        for kind in Kind:
            self._answer_s.labels(platform, kind)
        self._requests = self._counter(
            "platform_requests", "HTTP requests to the platform.", result=RequestResult
        )
        self._retries = self._counter(
            "send_retries", "Messages that were surely not shown and are sent again."
        )
        self._buried = self._counter(
            "buried", "Updates set aside and messages dropped, for nobody can read them.", box=Box
        )
        self._ratings = self._counter("ratings", "Ratings given or changed.", kind=Rating)
        self._posts = self._counter("daily_posts", "Poems of the day.", result=PostResult)
        self._inbox = self._gauge("inbox_depth", "Updates in the inbox.")
        self._outbox = self._gauge("outbox_depth", "Messages in the outbox.")
        self._lease = self._gauge("lease_held", "1 while this process serves the platform.")
        self._halt = Gauge(
            "yuefu_platform_halt_seconds",
            "How long the platform still wants us to wait.",
            registry=self.registry,
        )
        self._engines = Gauge("yuefu_engines", "Engines that live.", registry=self.registry)

    def _counter(self, name: str, tells: str, **label: Iterable[str]) -> Counter:
        """A counter by platform and at most one label more, of which all values are given."""
        counter = Counter(f"yuefu_{name}", tells, ["platform", *label], registry=self.registry)
        if not label:
            counter.labels(self.platform)
        for values in label.values():
            for value in values:
                counter.labels(self.platform, value)
        return counter

    def _gauge(self, name: str, tells: str) -> Gauge:
        gauge = Gauge(f"yuefu_{name}", tells, ["platform"], registry=self.registry)
        gauge.labels(self.platform)
        return gauge

    # --- what happens ---

    def count_update(self, kind: UpdateKind) -> None:
        """An update was taken in hand."""
        self._updates.labels(self.platform, kind).inc()

    def count_command(self, command: str) -> None:
        """Somebody wants something, by the name of a command or a button of ours."""
        self._commands.labels(self.platform, command).inc()

    def count_answer(self, kind: Kind, seconds: float) -> None:
        """An update was answered so many seconds after it came."""
        self._answers.labels(self.platform, kind).inc()
        self._answer_s.labels(self.platform, kind).observe(seconds)

    def count_request(self, status: int | None) -> None:
        """The platform answered a request by an HTTP status; None if it did not."""
        self._requests.labels(self.platform, _result(status)).inc()

    def count_retry(self) -> None:
        """A message has to be sent again."""
        self._retries.labels(self.platform).inc()

    def count_buried(self, box: Box) -> None:
        """Something in `box` cannot be dealt with."""
        self._buried.labels(self.platform, box).inc()

    def count_rating(self, kind: Rating) -> None:
        """Somebody rated a poem, or changed their mind."""
        self._ratings.labels(self.platform, kind).inc()

    def count_post(self, result: PostResult) -> None:
        """A poem of the day is over and done with."""
        self._posts.labels(self.platform, result).inc()

    # --- how things are ---

    def note_lease(self, *, held: bool) -> None:
        """This process serves the platform from now on, or no longer."""
        self._lease.labels(self.platform).set(held)

    def note_standing(self, standing: Standing) -> None:
        """How things are now."""
        self._inbox.labels(self.platform).set(standing.inbox)
        self._outbox.labels(self.platform).set(standing.outbox)
        self._halt.set(standing.halt_s)
        self._engines.set(standing.engines)


def _result(status: int | None) -> RequestResult:
    match status:
        case None:
            return RequestResult.UNSURE
        case HTTPStatus.TOO_MANY_REQUESTS:
            return RequestResult.FLOOD
        case _ if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            return RequestResult.UNSURE
        case _ if status >= HTTPStatus.BAD_REQUEST:
            return RequestResult.REFUSED
    return RequestResult.OK

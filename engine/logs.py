"""Logs for machines (JSON) and people (a terminal), from which no secret can be read.

Redaction is the last thing that happens to a line, so it covers messages, URLs and tracebacks of
every library alike. Whatever would print past the logs (uncaught exceptions, warnings) is led
into them.
"""

import json
import logging
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from types import TracebackType
from typing import Any, TextIO

import structlog
from pydantic_core import to_json
from structlog.types import EventDict, Processor

Renderer = Callable[[Any, str, EventDict], str]
"""Makes a line of an event."""

# These write addresses with tokens in them, or what strangers wrote, below the level given here.
_QUIET: dict[str, int] = {
    "httpx": logging.WARNING,
    "httpcore": logging.WARNING,
    "telegram": logging.INFO,
    "discord": logging.INFO,
    # It warns of an intent that we do without on purpose.
    "discord.state": logging.ERROR,
    "aiosqlite": logging.WARNING,
    "sqlalchemy": logging.WARNING,
    "alembic": logging.WARNING,
    "asyncio": logging.INFO,
    # It tells how it is set up, which our own line does.
    "apscheduler": logging.WARNING,
    # Below this, whoever knocks at the bot's port could fill the log.
    "uvicorn": logging.ERROR,
    # A registry in a bucket: they write every request, with what proves who asks.
    "botocore": logging.WARNING,
    "aiobotocore": logging.WARNING,
    "s3fs": logging.WARNING,
    "fsspec": logging.WARNING,
    "urllib3": logging.WARNING,
}
_TOKEN = re.compile(r"\d{4,}:[A-Za-z0-9_-]{20,}")
_LIKE_A_TOKEN = re.compile(r":[A-Za-z0-9_-]{20}")
"""In every token; it begins with what seldom stands in a line, so it is found in no time."""
_HIDDEN = "***"
_OURS = {"extra": {"ours": True}}


class RedactingFormatter(structlog.stdlib.ProcessorFormatter):
    """Renders a record, and takes the secrets out of what it rendered."""

    def __init__(self, *, secrets: Iterable[str], renderer: Renderer) -> None:
        super().__init__(
            foreign_pre_chain=_shared(),
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
        self._render = renderer
        self._redact = redactor(secrets)

    def format(self, record: logging.LogRecord) -> str:
        """The line, without secrets."""
        if isinstance(record.msg, dict) and "ours" in record.__dict__:
            # All that is to be known of it is there; structlog would copy the record to look.
            return self._redact(self._render(None, record.levelname, record.msg))
        return self._redact(super().format(record))


class _Handler(logging.StreamHandler[TextIO]):
    """Writes a line, or keeps it for a while so as to write it with others.

    Of one that cannot be written it does not tell, as its parent would, what was in it.
    """

    def __init__(self, stream: TextIO) -> None:
        super().__init__(stream)
        self._held: list[str] | None = None

    def emit(self, record: logging.LogRecord) -> None:
        """Write or keep the line of a record."""
        if self._held is None:
            super().emit(record)
            return
        try:
            self._held.append(self.format(record) + self.terminator)
        except Exception:
            self.handleError(record)

    @contextmanager
    def together(self) -> Iterator[None]:
        """Keep what comes meanwhile, and write it at the end."""
        with self.lock or nullcontext():
            self._held = []
        try:
            yield
        finally:
            with self.lock or nullcontext():
                lines, self._held = self._held, None
                # A log that cannot be written must not end what it tells of.
                with suppress(OSError, ValueError):
                    self.stream.write("".join(lines))
                    self.flush()

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        """Name the logger whose line is lost, if that can be written."""
        with suppress(OSError, ValueError):
            self.stream.write(f"! a log line of {record.name} could not be written\n")


def redactor(secrets: Iterable[str]) -> Callable[[str], str]:
    """A function that replaces `secrets`, and whatever looks like a bot's token, by asterisks."""
    # A line of JSON has line ends and quotes otherwise.
    forms = {form for secret in secrets for form in (secret, _in_json(secret)) if form}
    # The longest first: one secret may be part of another.
    known = sorted(forms, key=len, reverse=True)
    pattern = re.compile("|".join([*map(re.escape, known), _TOKEN.pattern]))

    def redact(text: str) -> str:
        # A look for what nearly no line has costs a tenth of what the pattern does.
        if _LIKE_A_TOKEN.search(text) or any(form in text for form in known):
            return pattern.sub(_HIDDEN, text)
        return text

    return redact


def _in_json(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)[1:-1]


@contextmanager
def together() -> Iterator[None]:
    """Write the lines that come meanwhile in one piece; nothing may be awaited in here.

    Whoever writes lets go of the interpreter; another thread takes it and keeps it until its own
    next pause. Beside a thread that writes poems, writing a line took 80 µs, making it 17.
    """
    with ExitStack() as stack:
        for handler in logging.getLogger().handlers:
            if isinstance(handler, _Handler):
                stack.enter_context(handler.together())
        yield


def configure(*, level: str, secrets: Iterable[str], stream: TextIO | None = None) -> None:
    """Send every log of this process to `stream` (stderr), from `level` upwards."""
    stream = stream or sys.stderr
    handler = _Handler(stream)
    handler.setFormatter(RedactingFormatter(secrets=secrets, renderer=_renderer(stream)))
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level)
    for name, quiet in _QUIET.items():
        logging.getLogger(name).setLevel(max(quiet, root.level))
    _look_up_no_more_than_is_told()
    logging.captureWarnings(True)
    sys.excepthook = _log_uncaught
    structlog.configure(
        processors=[
            # Ours alone: a record of another library has passed its logger's level already.
            structlog.stdlib.filter_by_level,
            *_shared(),
            _hand_over,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )


def _look_up_no_more_than_is_told() -> None:
    """Spare each record what no line of ours has: the source's line, the thread, the process.

    It is how the logging HOWTO of Python's documentation has it.
    """
    logging._srcfile = None  # noqa: SLF001
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False


def _hand_over(
    _logger: object, _name: str, event: EventDict
) -> tuple[tuple[EventDict], Mapping[str, Any]]:
    """Leave rendering to the formatter, which knows by the mark whose the record is."""
    return (event,), _OURS


def _shared() -> list[Processor]:
    return [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
    ]


def _renderer(stream: TextIO) -> Renderer:
    if stream.isatty():
        return structlog.dev.ConsoleRenderer()

    def render(logger: object, name: str, event: EventDict) -> str:
        whole = structlog.processors.format_exc_info(logger, name, event)
        return to_json(whole, fallback=repr).decode()

    return render


def _log_uncaught(
    kind: type[BaseException], error: BaseException, traceback: TracebackType | None
) -> None:
    logging.getLogger("yuefu").critical("uncaught", exc_info=(kind, error, traceback))

"""Logs for machines (JSON) and people (a terminal), from which no secret can be read.

Redaction is the last thing that happens to a line, so it covers messages, URLs and tracebacks of
every library alike. Whatever would print past the logs (uncaught exceptions, warnings) is led
into them.
"""

import json
import logging
import re
import sys
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import TextIO

import structlog
from structlog.types import EventDict, Processor

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
_HIDDEN = "***"


class RedactingFormatter(structlog.stdlib.ProcessorFormatter):
    """Renders a record, and takes the secrets out of what it rendered."""

    def __init__(self, *, secrets: Iterable[str], renderer: Processor) -> None:
        super().__init__(
            foreign_pre_chain=_shared(),
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
        self._redact = redactor(secrets)

    def format(self, record: logging.LogRecord) -> str:
        """The line, without secrets."""
        return self._redact(super().format(record))


class _Handler(logging.StreamHandler[TextIO]):
    """Says that a line could not be written, and not, as its parent would, what was in it."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        """Name the logger whose line is lost."""
        self.stream.write(f"! a log line of {record.name} could not be written\n")


def redactor(secrets: Iterable[str]) -> Callable[[str], str]:
    """A function that replaces `secrets`, and whatever looks like a bot's token, by asterisks."""
    # A line of JSON has line ends and quotes otherwise.
    forms = {form for secret in secrets for form in (secret, _in_json(secret)) if form}
    # The longest first: one secret may be part of another.
    known = [re.escape(form) for form in sorted(forms, key=len, reverse=True)]
    pattern = re.compile("|".join([*known, _TOKEN.pattern]))
    return lambda text: pattern.sub(_HIDDEN, text)


def _in_json(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)[1:-1]


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
    logging.captureWarnings(True)
    sys.excepthook = _log_uncaught
    structlog.configure(
        processors=[
            # Ours alone: a record of another library has passed its logger's level already.
            structlog.stdlib.filter_by_level,
            *_shared(),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )


def _shared() -> list[Processor]:
    return [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
    ]


def _renderer(stream: TextIO) -> Processor:
    if stream.isatty():
        return structlog.dev.ConsoleRenderer()
    as_json = structlog.processors.JSONRenderer(ensure_ascii=False)

    def render(logger: object, name: str, event: EventDict) -> str | bytes:
        return as_json(logger, name, structlog.processors.format_exc_info(logger, name, event))

    return render


def _log_uncaught(
    kind: type[BaseException], error: BaseException, traceback: TracebackType | None
) -> None:
    logging.getLogger("yuefu").critical("uncaught", exc_info=(kind, error, traceback))

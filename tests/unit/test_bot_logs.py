"""However a token comes to be written, it does not reach the log."""

import io
import json
import logging
import subprocess
import sys
from contextlib import suppress

import pytest
import structlog

from engine import logs
from engine.logs import redactor
from engine.settings import load_settings
from tests.fakes.bot import environment
from trainer.settings import TrainerSettings

TOKEN = "987654:canary-token-0123456789abcdef"
PASSWORD = "canary-password"

PROGRAM = """
import logging, sys, warnings
import httpx, structlog
from engine import logs

token, password = sys.argv[1:]
logs.configure(level="DEBUG", secrets=[password])
log = structlog.get_logger("test")
log.debug("said", text=f"the {token} and the {password}")
log.info("nested", data={"url": [f"https://host/bot{token}/getMe"]})
logging.getLogger("a.library").debug("https://host/bot%s/getMe", token)
warnings.warn(f"beware of {token}", stacklevel=1)
try:
    raise ValueError(f"https://u:{password}@host/bot{token}/")
except ValueError:
    log.exception("caught")
try:
    httpx.get(f"http://127.0.0.1:1/bot{token}/getMe")
except httpx.HTTPError as error:
    log.error("request", url=str(error.request.url), exc_info=error)
raise RuntimeError(f"uncaught {token} {password}")
"""


def test_no_secret_is_written_whoever_writes_it():
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, TOKEN, PASSWORD],
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    written = done.stdout + done.stderr
    assert done.returncode == 1
    for event in ("said", "nested", "beware", "caught", "request", "uncaught", "a.library"):
        assert event in written
    assert written.count("***") >= 9
    assert "canary" not in written


@pytest.mark.parametrize(
    ("name", "value", "quoted"),
    [
        ("YUEFU_REDIS_URL", "rediss://bot:canary-in-it@host:6379/0", "AUTH bot canary-in-it"),
        ("YUEFU_REDIS_URL", "unix://bot:canary%2Fin@/socket", "invalid password canary/in"),
        ("YUEFU_REDIS_URL", "redis://host/0?password=canary-in-it", "canary-in-it"),
        ("YUEFU_REDIS_URL", "redis://[nowhere:canary-in-it@h", "redis://[nowhere:canary-in-it@h"),
        ("YUEFU_SIGNING_KEY", "-----BEGIN K-----\ncanary\n-----END K-----\n", "canary"),
        ("AWS_SECRET_ACCESS_KEY", "canary/with+signs", "?X-Amz-Key=canary/with+signs"),
        ("AWS_SESSION_TOKEN", "canary==", "x-amz-security-token: canary=="),
        ("PGPASSWORD", 'canary"\\', '{"event": "canary\\"\\\\"}'),
    ],
)
def test_what_is_secret_of_a_setting_is_hidden_when_it_stands_alone(
    monkeypatch, name, value, quoted
):
    monkeypatch.setenv(name, value)
    hidden = redactor(load_settings(TrainerSettings).secrets)(quoted)
    assert "canary" not in hidden
    assert "***" in hidden


def test_a_short_password_hides_nothing_but_itself(monkeypatch):
    monkeypatch.setenv("YUEFU_REDIS_URL", "redis://u:no@host/0")
    redact = redactor(load_settings(TrainerSettings).secrets)
    assert redact("nobody knows redis://u:no@host/0") == "nobody knows ***"


@pytest.fixture
def _own_handlers(monkeypatch):
    """What `logs.configure` does to the handlers ends with the test."""
    monkeypatch.setattr(logging.getLogger(), "handlers", [])


@pytest.mark.usefixtures("_own_handlers")
def test_lines_that_come_together_are_written_in_one_piece_and_in_order():
    written: list[str] = []

    class Stream(io.StringIO):
        def write(self, text: str) -> int:
            written.append(text)
            return len(text)

    logs.configure(level="INFO", secrets=[TOKEN], stream=Stream())
    log = structlog.get_logger("engine.together")
    log.info("alone")
    with suppress(ValueError), logs.together():
        log.info("first")
        logging.getLogger("a.library").warning("second %s", TOKEN)
        raise ValueError("midway")
    log.info("afterwards")
    pieces = [[json.loads(line)["event"] for line in piece.splitlines()] for piece in written]
    assert pieces == [["alone"], ["first", "second ***"], ["afterwards"]]


@pytest.mark.usefixtures("_own_handlers")
def test_a_log_that_cannot_be_written_ends_nothing():
    class Full(io.StringIO):
        def write(self, text: str) -> int:
            raise OSError(28, "No space left on device")

    logs.configure(level="INFO", secrets=[], stream=Full())
    log = structlog.get_logger("engine.full")
    log.info("alone")
    with logs.together():
        log.info("first")

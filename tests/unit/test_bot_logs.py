"""However a token comes to be written, it does not reach the log."""

import subprocess
import sys

from tests.fakes.bot import environment

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

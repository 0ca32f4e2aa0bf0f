"""Nights in processes of their own, which are killed, stopped or starved where a test says.

One process imports everything once and forks a child for every life, so that many can be lived.
"""

import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from engine import logs
from engine.jobs import Cell
from engine.settings import load_settings
from tests.fakes.nights import SMALL, pack_of
from trainer import duty
from trainer.lock import LockLostError, NoLockError
from trainer.record import Book, PhaseRun
from trainer.settings import TrainerSettings

DAY = date(2026, 11, 21)
BEGUN = datetime(2026, 11, 21, 3, 30, tzinfo=UTC)
"""When every night is said to have begun."""

DONE, FAILED, NOTHING, BUSY, LOST, UNWRITABLE = range(6)
"""How a life can end by itself, as its exit status."""


class Midwife:
    """The process that lives are forked from."""

    def __init__(self, redis_url: str) -> None:
        self._alive: list[int] = []
        self._process = subprocess.Popen(
            [sys.executable, "-c", "from tests.fakes.mortal import bear; bear()"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "YUEFU_REDIS_URL": redis_url, "OMP_NUM_THREADS": "1"},
        )

    def live(self, data: Path, **order: Any) -> int:
        """One life with the household in `data`, from its beginning; its process id.

        Args:
            data: The household's folder.
            **order: `at`: a phase and "begun" or "made"; `then`: the signal that it sends itself
                there; `file_limit`: bytes that a file may have; `fitted`: whether trained weights
                are in service at once.
        """
        assert self._process.stdin is not None
        print(json.dumps({"data": str(data), **order}), file=self._process.stdin, flush=True)
        self._alive.append(int(self._answer()))
        return self._alive[-1]

    def wait(self, pid: int) -> int:
        """How a life ended: its exit status, or the signal, below 0, that ended or stopped it."""
        assert self._process.stdin is not None
        print(json.dumps(pid), file=self._process.stdin, flush=True)
        end = int(self._answer())
        if end != -signal.SIGSTOP:
            self._alive.remove(pid)
        return end

    def close(self) -> None:
        """No more lives, and an end to those that are still lived."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        for pid in self._alive:
            os.kill(pid, signal.SIGKILL)
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait()

    def _answer(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline()


def bear() -> None:
    """Fork a child for every order from stdin; wait for one where its process id is said."""
    for line in sys.stdin:
        order = json.loads(line)
        print(_end(order) if isinstance(order, int) else os.fork() or _live(order), flush=True)


def _end(pid: int) -> int:
    _, status = os.waitpid(pid, os.WUNTRACED)
    return -os.WSTOPSIG(status) if os.WIFSTOPPED(status) else os.waitstatus_to_exitcode(status)


def _live(order: dict[str, Any]) -> int:
    """A night in this process, which does not return."""
    os.environ["YUEFU_DATA"] = order["data"]
    sys.stdout = sys.stderr
    settings = load_settings(TrainerSettings).model_copy(update={"nightly_threads": 1})
    log = (settings.data / "night.log").open("a", encoding="utf-8")
    logs.configure(level="INFO", secrets=[], stream=log)
    if (limit := order.get("file_limit")) is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    duty._now = lambda: BEGUN
    if "at" in order:
        _arrange(Book, *order["at"], end=lambda: os.kill(os.getpid(), order["then"]))
    plan = replace(SMALL, trial_share=0.0) if order.get("fitted") else SMALL
    try:
        record = duty.hold_night(
            settings,
            day=DAY,
            wanted=[Cell.GRU],
            again=order.get("again", True),
            wait_s=order.get("wait_s", 10.0),
            pack=pack_of(settings),
            plan=plan,
            lock_ms=500,
        )
        code = NOTHING if record is None else DONE if record.error is None else FAILED
    except NoLockError:
        code = BUSY
    except LockLostError:
        code = LOST
    except OSError:
        code = UNWRITABLE
    except BaseException as error:
        print(repr(error), flush=True)
        code = 99
    log.flush()
    os._exit(code)


def _arrange(book: type[Book], phase: str, moment: str, *, end: Callable[[], None]) -> None:
    """Let `end` happen once a phase is on record as begun, or just before it is as done."""
    note = book._note

    def note_and_end(self: Book, run: PhaseRun) -> None:
        if (run.name, moment) == (phase, "made") and run.ended is not None:
            end()
        note(self, run)
        if (run.name, moment) == (phase, "begun") and run.ended is None:
            end()

    book._note = note_and_end  # type: ignore[method-assign]

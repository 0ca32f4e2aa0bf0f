"""The embedded server: shared by a folder's processes, private to them, and proof against kills."""

import asyncio
import os
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from redis import Redis

from engine import embedded
from engine.client import EngineClient, connect
from engine.embedded import EmbeddedError, EmbeddedValkey
from engine.settings import EngineSettings
from tests.fakes.jobs import a_job

Join = Callable[..., EmbeddedValkey]

USER = """
import sys
from pathlib import Path
from engine.embedded import ensure
print(ensure(Path(sys.argv[1])), flush=True)
sys.stdin.read()
"""


@pytest.fixture
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data")


@pytest.fixture
def join(data: Path) -> Iterator[Join]:
    """Join the server of a folder, and leave it when the test is over."""
    shares: list[EmbeddedValkey] = []

    def join(folder: Path = data) -> EmbeddedValkey:
        shares.append(EmbeddedValkey(folder))
        return shares[-1]

    yield join
    for share in shares:
        share.leave()


def call(url: str, *words: str) -> object:
    with closing(Redis.from_url(url, protocol=2)) as client:
        return client.execute_command(*words)


def server_pid(data: Path) -> int:
    return int((data / "valkey" / "valkey.pid").read_text())


def is_up(url: str) -> bool:
    with socket.socket(socket.AF_UNIX) as connection:
        return connection.connect_ex(url.removeprefix("unix://")) == 0


def eventually(condition: Callable[[], bool], within_s: float = 20.0) -> None:
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, f"not within {within_s} s"
        time.sleep(0.01)


def start_user(data: Path) -> tuple[subprocess.Popen[str], str]:
    """Another process that uses the server of `data`, and the URL that it was given."""
    process = subprocess.Popen(
        [sys.executable, "-c", USER, str(data)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    return process, process.stdout.readline().strip()


def end_user(process: subprocess.Popen[str]) -> None:
    """Let it end as programs do."""
    process.communicate("")
    assert process.returncode == 0


def test_a_server_starts_serves_and_stops(join: Join):
    share = join()
    assert call(share.url, "PING") is True
    share.leave()
    assert not is_up(share.url)


def test_only_its_owner_can_reach_it(join: Join, data: Path):
    share = join()
    assert stat.S_IMODE((data / "valkey").stat().st_mode) == 0o700
    assert stat.S_IMODE(Path(share.url.removeprefix("unix://")).stat().st_mode) == 0o700
    assert call(share.url, "CONFIG", "GET", "port") == [b"port", b"0"]


def test_it_keeps_a_file_and_refuses_rather_than_forgets(join: Join):
    url = join().url
    for option, value in [
        ("appendonly", b"yes"),
        ("appendfsync", b"everysec"),
        ("maxmemory-policy", b"noeviction"),
    ]:
        assert call(url, "CONFIG", "GET", option) == [option.encode(), value]


def test_what_was_written_is_there_after_a_restart(join: Join):
    share = join()
    call(share.url, "SET", "key", "value")
    share.leave()
    assert call(join().url, "GET", "key") == b"value"


def test_two_users_share_one_server_and_the_last_one_out_stops_it(join: Join):
    first, second = join(), join()
    assert first.url == second.url
    first.leave()
    assert call(second.url, "PING") is True
    second.leave()
    assert not is_up(second.url)


def test_the_one_who_started_it_may_leave_first_also_from_another_process(join: Join, data: Path):
    starter, url = start_user(data)
    share = join()
    assert share.url == url
    end_user(starter)
    assert call(url, "PING") is True


def test_of_many_who_come_at_once_one_starts_it(data: Path):
    users = [start_user(data) for _ in range(4)]
    assert len({url for _, url in users}) == 1
    for process, url in users:
        assert call(url, "PING") is True
        end_user(process)
    assert not is_up(users[0][1])


def test_a_killed_user_leaves_nothing_to_repair(join: Join, data: Path):
    killed, url = start_user(data)
    killed.kill()
    killed.communicate()
    share = join()
    assert call(share.url, "PING") is True
    share.leave()
    assert not is_up(url), "the last user alive stops the server that the killed one started"


def test_a_server_killed_between_two_users_leaves_nothing_to_repair(join: Join, data: Path):
    killed, url = start_user(data)
    call(url, "SET", "key", "value")
    killed.kill()
    killed.communicate()
    os.kill(server_pid(data), signal.SIGKILL)
    eventually(lambda: not is_up(url))
    assert call(join().url, "GET", "key") == b"value"


async def test_a_server_that_is_killed_is_started_again_while_jobs_are_put(join: Join, data: Path):
    join()
    redis = connect(EngineSettings(data=data, redis_url=None))
    client = EngineClient(redis)
    await client.put(a_job("before"))
    os.kill(server_pid(data), signal.SIGKILL)
    async with asyncio.timeout(20):
        await redis.ping()
    await client.put(a_job("after"))
    assert sum((await client.depth()).values()) == 2
    await redis.aclose()


def test_a_data_folder_with_a_long_path_gets_its_socket_elsewhere(join: Join, data: Path):
    folder = data / ("深" * 60) / "with a space"
    first, second = join(folder), join(folder)
    path = Path(first.url.removeprefix("unix://"))
    assert first.url == second.url
    assert len(os.fsencode(path)) < 104
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    first.leave()
    second.leave()
    assert not path.parent.exists()


def test_a_socket_folder_that_was_swept_away_is_made_anew(join: Join, data: Path):
    folder = data / ("深" * 60)
    share = join(folder)
    share.leave()
    assert call(join(folder).url, "PING") is True


def test_a_server_that_cannot_start_says_why(data: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(embedded._OPTIONS, "appendfsync", "sometimes")
    with pytest.raises(EmbeddedError, match="appendfsync"):
        EmbeddedValkey(data)

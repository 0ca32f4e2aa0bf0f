"""Fault 33 for everything that is started: a canary in each secret, DEBUG on, and nobody sings.

`tests.faults.test_bot_kill` and `test_discord_kill` look at bots that serve; here are all commands
of all processes, with servers that are away or whose addresses are wrong, and engine, bot and
trainer on a real Valkey with passwords.
"""

import asyncio
import itertools
import sys
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest
import typer

import bot.__main__
import engine.__main__
import trainer.__main__
from engine import keys
from engine.client import EngineClient
from engine.jobs import Cell, Lane
from engine.signing import Signer
from tests.fakes.bot import ROOT, bot_process, environment
from tests.fakes.deployed import deployed_valkey
from tests.fakes.ports import free_port
from tests.fakes.serving import ENGINE, engine_process, small_registry
from tests.fakes.telegram import FakeTelegram
from tests.fakes.waiting import until

KEY = Signer.generate().private_pem
# Of the key's one line the end: how it begins is the same in all keys.
CANARIES = {name: f"canary-{name}" for name in ("telegram", "redis", "postgres", "other")} | {
    "key": KEY.splitlines()[1][-40:]
}
SECRETS = {
    "YUEFU_TELEGRAM_TOKEN": f"123456:{CANARIES['telegram']}",
    "YUEFU_WEBHOOK_SECRET": CANARIES["other"],
    "YUEFU_DISCORD_TOKEN": CANARIES["other"],
    "YUEFU_PSEUDONYM_KEY": CANARIES["other"],
    "YUEFU_SIGNING_KEY": KEY,
    "AWS_SECRET_ACCESS_KEY": CANARIES["other"],
    "AWS_SESSION_TOKEN": CANARIES["other"],
    "PGPASSWORD": CANARIES["other"],
}
NOBODY = "127.0.0.1:1"
PLATFORMS = {
    "YUEFU_TELEGRAM_API": f"http://{NOBODY}",
    "YUEFU_DISCORD_API": f"http://{NOBODY}",
    "YUEFU_DISCORD_GATEWAY": f"ws://{NOBODY}",
}
CIRCUMSTANCES = {
    "away": PLATFORMS
    | {
        "YUEFU_REDIS_URL": f"redis://bot:{CANARIES['redis']}@{NOBODY}/0",
        "YUEFU_DATABASE_URL": f"postgresql://bot:{CANARIES['postgres']}@{NOBODY}/yuefu",
    },
    # A slash in a password ends the address before its time, and what follows it is no port.
    "wrong": PLATFORMS
    | {
        "YUEFU_MODELS": "s3://nowhere/models",
        "AWS_ENDPOINT_URL": f"http://{NOBODY}",
        "YUEFU_REDIS_URL": f"rediss://bot:{CANARIES['redis']}/x@{NOBODY}/0",
        "YUEFU_DATABASE_URL": f"postgresql://bot:{CANARIES['postgres']}/x@{NOBODY}:x/yuefu",
    },
}
# Every command, with what it needs to be asked for something; those that serve are told to stop.
COMMANDS = {
    "bot console": "--once=/help",
    "bot telegram": None,
    "bot doctor": "",
    "bot discord": None,
    "bot ratings undo": "--person=telegram:1",
    "engine serve": None,
    "engine top": None,
    "engine compose": "月 --seed=1 --candidates=1",
    "engine bench": "--rounds=0",
    "engine compile": "",
    "engine inspect": "gru",
    "engine dead list": "--json",
    "engine dead retry": "--all",
    "trainer corpus fetch": "--from=/nowhere",
    "trainer corpus stats": "",
    "trainer corpus pack": "{data}/pack.npz",
    "trainer train": "gru",
    "trainer critic": "gru",
    "trainer theme": "gru",
    "trainer nightly": "--now",
    "trainer nights": "",
    "trainer evaluate": "gru",
    "trainer models list": "",
    "trainer models promote": "gru-x",
    "trainer models keygen": "{data}/keys",
    "trainer models sign": "gru-x",
    "trainer models rollback": "gru",
}
SERVES_S = 40.0
"""How long something that serves may take to say its first word."""
ENDS_S = 20.0
"""How long a command may take; while Redis is away some do not end by themselves."""
AT_ONCE = 3
PAGES = ("healthz", "readyz", "metrics", "telegram", "")
"""Doors at which somebody might knock."""


def commands(app: typer.Typer, *words: str) -> Iterator[str]:
    """Every command of an application, by its words."""
    for command in app.registered_commands:
        assert command.callback is not None
        yield " ".join((*words, command.name or command.callback.__name__))
    for group in app.registered_groups:
        assert group.typer_instance is not None
        name = group.name or group.typer_instance.info.name
        yield from commands(group.typer_instance, *words, str(name))


def sung(text: str) -> list[str]:
    """The canaries that can be heard in a text."""
    return [name for name, canary in CANARIES.items() if canary in text]


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace")


@dataclass
class Cage:
    """Processes that know all canaries, and what was heard of them."""

    folder: Path
    looked: int = 0
    """At how many command lines."""
    heard: list[str] = field(default_factory=list)
    """Who told which."""
    silent: list[str] = field(default_factory=list)
    """Who ended without a word."""

    async def run(self, command: str, circumstance: str) -> None:
        """Listen to a command, on whichever stream, until it has ended."""
        data = self.folder / f"{command} {circumstance}".replace(" ", "-")
        data.mkdir()
        words = COMMANDS[command]
        asked = (words or "").format(data=data).split()
        usual = {"YUEFU_DATA": str(data), "YUEFU_LOG_LEVEL": "DEBUG", "COLUMNS": "1000"}
        with (data / "said").open("wb") as said:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", *command.split(), *asked),
                cwd=ROOT,
                env=environment(**usual, **SECRETS, **CIRCUMSTANCES[circumstance]),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=said,
                stderr=said,
            )
            self.look_at(process.pid, command)
            if words is None:
                await _first_word(process, data / "said")
                self.look_at(process.pid, command)
            ended = await _end(process)
        self.listen(data, f"{command}, {circumstance}")
        # One that serves may have been told to stop before it had anything to say.
        if ended and words is not None and not _text(data / "said"):
            self.silent.append(f"{command}, {circumstance}")

    def look_at(self, pid: int, who: str) -> None:
        """Look at the command lines of a process and its children: anybody on the machine can."""
        with suppress(FileNotFoundError, ProcessLookupError):
            self._note(_text(Path(f"/proc/{pid}/cmdline")), f"the command line of {who}")
            self.looked += 1
            for child in _text(Path(f"/proc/{pid}/task/{pid}/children")).split():
                self.look_at(int(child), who)

    def listen(self, folder: Path, who: str) -> None:
        """Look into every file that somebody left."""
        for path in filter(Path.is_file, folder.rglob("*")):
            self._note(_text(path), f"{who}: {path.name}")

    def _note(self, text: str, who: str) -> None:
        self.heard += [f"{canary} in {who}" for canary in sung(text)]


async def _first_word(process: asyncio.subprocess.Process, said: Path) -> None:
    """Tell a process that serves to stop once it has said something, or has had time to."""

    async def spoke() -> bool:
        return process.returncode is not None or bool(_text(said))

    with suppress(TimeoutError):
        await until(spoke, within_s=SERVES_S)
    if process.returncode is None:
        process.terminate()


async def _end(process: asyncio.subprocess.Process) -> bool:
    """Wait until a process has ended; whether it did so by itself."""
    with suppress(TimeoutError):
        async with asyncio.timeout(ENDS_S):
            await process.wait()
            return True
    process.kill()
    await process.wait()
    return False


def test_every_command_is_known_here():
    apps = {"bot": bot, "engine": engine, "trainer": trainer}
    found = {
        name for word, package in apps.items() for name in commands(package.__main__.app, word)
    }
    assert found == set(COMMANDS)


@pytest.mark.only_by_make_faults
@pytest.mark.timeout(570)
async def test_fault_33_no_command_tells_a_secret_when_things_go_wrong(tmp_path):
    cage, gate = Cage(tmp_path), asyncio.Semaphore(AT_ONCE)

    async def run(command, circumstance):
        async with gate:
            return await cage.run(command, circumstance)

    runs = list(itertools.product(COMMANDS, CIRCUMSTANCES))
    await asyncio.gather(*itertools.starmap(run, runs))
    print(
        f"fault 33: {len(runs)} commands on servers that are away or wrong, DEBUG on; "
        f"{cage.looked} command lines: secrets told {len(cage.heard)}"
    )
    assert cage.heard == []
    assert cage.silent == []


@pytest.mark.only_by_make_faults
async def test_fault_33_who_serves_tells_no_secret_to_logs_or_to_http(tmp_path):
    registry, _ = small_registry(tmp_path / "models")
    ports = {name: free_port() for name in ("bot", "engine")}
    async with FakeTelegram().serve() as telegram:
        with deployed_valkey() as server:
            passwords = {
                user: (server.secrets / f"redis-{user}").read_text()
                for user in ("telegram", "engine", "operator")
            }
            common = SECRETS | {"YUEFU_LOG_LEVEL": "DEBUG", "YUEFU_TELEGRAM_TOKEN": telegram.token}
            async with (
                server.login("operator") as operator,
                server.login("telegram") as redis,
                engine_process(
                    registry,
                    server.url("engine"),
                    EngineClient(redis),
                    program=ENGINE,
                    **common | {"YUEFU_LISTEN": f"127.0.0.1:{ports['engine']}"},
                ),
                bot_process(
                    tmp_path,
                    **common,
                    YUEFU_REDIS_URL=server.url("telegram"),
                    YUEFU_TELEGRAM_API=telegram.url,
                    YUEFU_LISTEN=f"127.0.0.1:{ports['bot']}",
                ) as bot,
            ):
                await telegram.say("/poem 月")
                await operator.xadd(keys.jobs(Lane.CHAT), {"job": "{not a job"})
                (registry.folder / f"{Cell.GRU}.json").write_text("{")
                await telegram.until(lambda: len(telegram.sent) >= 1)
                pages = await _pages(ports.values())
                wrong = server.url("engine").replace(passwords["engine"], CANARIES["redis"])
                refused = await _refused(YUEFU_REDIS_URL=wrong, **common)
                await bot.stop()
    logs = refused + "".join(path.read_text() for path in tmp_path.glob("*.log"))
    secrets = [*passwords.values(), *CANARIES.values(), telegram.token]
    found = sum(text.count(secret) for secret in secrets for text in (logs, *pages))
    print(f"fault 33: {len(pages)} pages, {len(logs)} characters of log: secrets told {found}")
    assert found == 0
    assert "Traceback" not in logs


async def _pages(ports: Iterable[int]) -> list[str]:
    """What those who listen answer to whoever knocks, at whatever door."""
    found = []
    async with httpx.AsyncClient() as http:
        for port, path in itertools.product(ports, PAGES):
            with suppress(httpx.ConnectError):
                answer = await http.get(f"http://127.0.0.1:{port}/{path}")
                found.append(f"{answer.headers} {answer.text}")
    return found


async def _refused(**settings: str) -> str:
    """What somebody says whose password Redis does not take."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "engine", "dead", "list"),
        cwd=ROOT,
        env=environment(**settings),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await process.communicate()
    assert process.returncode
    return said.decode()

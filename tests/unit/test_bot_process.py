"""How the bot behaves as a program: what it loads, and what it says when it cannot start."""

import re
import signal
import subprocess
import sys

import pytest

from bot.__main__ import main
from bot.settings import BotSettings
from engine.settings import SettingsError, load_settings
from tests.fakes.bot import environment

CANARY = "987654:canary-token-0123456789abcdef"


def run(*arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """`python` with `arguments`, and of Yuefu's settings only those given."""
    return subprocess.run(
        [sys.executable, *arguments],
        env=environment(**settings),
        capture_output=True,
        text=True,
        check=False,
    )


def test_nothing_of_the_bot_loads_torch():
    services = "bot.console.service, bot.discord.service, bot.telegram.service"
    modules = f"bot.__main__, bot.doctor.report, {services}"
    code = f"import sys, {modules}; print([m for m in ('torch', 'numpy') if m in sys.modules])"
    assert run("-c", code).stdout == "[]\n"


@pytest.mark.parametrize(
    ("platform", "where"), [("telegram", "BotFather"), ("discord", "discord.com/developers")]
)
def test_without_a_token_one_line_says_how_to_get_one(platform, where):
    result = run("-m", "bot", platform)
    assert result.returncode == 2
    assert result.stdout == ""
    assert result.stderr.count("\n") == 1
    assert f"YUEFU_{platform.upper()}_TOKEN" in result.stderr
    assert where in result.stderr


@pytest.mark.parametrize("command", ["console", "telegram", "discord"])
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("YUEFU_TELEGRAM_TOKEN", "canary without a colon"),
        ("YUEFU_TELEGRAM_API", "canary.example.org"),
        ("YUEFU_DISCORD_API", "canary.example.org"),
        ("YUEFU_DISCORD_GATEWAY", "https://canary.example.org"),
        ("YUEFU_DISCORD_TOKEN_FILE", "/nowhere/at/all"),
        ("YUEFU_SLOTS", "canary"),
        ("YUEFU_TELEGRAM_TOKEN_FILE", "/nowhere/at/all"),
    ],
)
def test_a_bad_setting_is_one_line_that_names_it_and_not_what_it_holds(
    command, name, value, monkeypatch, capsys
):
    monkeypatch.setenv(name, value)
    assert run_here(monkeypatch, command) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "YUEFU_" in said
    assert "canary" not in said


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("YUEFU_DATA", "/proc/nowhere"),
        ("YUEFU_DATABASE_URL", "canary://canary"),
        ("YUEFU_REDIS_URL", "redis://u:canary@h:canary/0"),
    ],
)
def test_what_cannot_be_opened_is_one_line_without_what_may_be_secret(name, value, tmp_path):
    settings = {"YUEFU_DATA": str(tmp_path), "YUEFU_REDIS_URL": "unix:///nowhere", name: value}
    result = run("-m", "bot", "console", "--once=/help", **settings)
    assert result.returncode in (1, 2)
    assert result.stderr.count("\n") == 1
    assert name in result.stderr
    assert "canary" not in result.stderr


def run_here(monkeypatch, *arguments):
    """`python -m bot` with `arguments` in this process; its exit code."""
    monkeypatch.setattr(sys, "argv", ["bot", *arguments])
    before = signal.getsignal(signal.SIGTERM)
    try:
        with pytest.raises(SystemExit) as exit_:
            main()
    finally:
        signal.signal(signal.SIGTERM, before)
    return exit_.value.code


def test_a_setting_is_found_in_a_file(tmp_path, monkeypatch):
    (tmp_path / "token").write_text(f"{CANARY}\n")
    monkeypatch.setenv("YUEFU_TELEGRAM_TOKEN_FILE", str(tmp_path / "token"))
    settings = load_settings(BotSettings)
    assert settings.telegram_token is not None
    assert settings.telegram_token.get_secret_value() == CANARY
    assert CANARY in settings.secrets
    assert CANARY not in repr(settings)


def test_an_empty_token_is_none(monkeypatch):
    monkeypatch.setenv("YUEFU_TELEGRAM_TOKEN", "")
    assert load_settings(BotSettings).telegram_token is None


@pytest.mark.parametrize(
    ("given", "used"),
    [
        ("postgres://u:p@host/db", "postgresql+asyncpg://u:p@host/db"),
        ("postgresql://u:p@host/db", "postgresql+asyncpg://u:p@host/db"),
        ("sqlite+aiosqlite:///a.db", "sqlite+aiosqlite:///a.db"),
    ],
)
def test_the_usual_addresses_of_postgresql_will_do(monkeypatch, given, used):
    monkeypatch.setenv("YUEFU_DATABASE_URL", given)
    assert load_settings(BotSettings).anthology_url == used


def test_an_api_of_ones_own_may_end_in_a_slash(monkeypatch):
    monkeypatch.setenv("YUEFU_TELEGRAM_API", "http://127.0.0.1:8081/")
    assert load_settings(BotSettings).telegram_api == "http://127.0.0.1:8081"
    monkeypatch.setenv("YUEFU_TELEGRAM_API", "ftp://127.0.0.1")
    with pytest.raises(SettingsError, match="YUEFU_TELEGRAM_API"):
        load_settings(BotSettings)


def read(monkeypatch, **settings):
    for name, value in settings.items():
        monkeypatch.setenv(f"YUEFU_{name}", value)
    return load_settings(BotSettings)


@pytest.mark.parametrize(
    ("given", "used"),
    [
        ({}, None),
        ({"WEBHOOK_URL": "", "LISTEN": ""}, None),
        ({"WEBHOOK_URL": "https://example.org"}, "127.0.0.1:8080"),
        ({"LISTEN": "0.0.0.0:80"}, "0.0.0.0:80"),
        ({"WEBHOOK_URL": "https://example.org", "LISTEN": "[::1]:0"}, "[::1]:0"),
        ({"LISTEN": ":8080"}, ":8080"),
    ],
)
def test_the_bot_listens_where_it_is_told_or_needed_and_else_nowhere(monkeypatch, given, used):
    assert read(monkeypatch, **given).listen_address == used


@pytest.mark.parametrize(
    ("given", "used"),
    [
        ("https://example.org/", "https://example.org"),
        ("https://example.org:8443/yuefu/", "https://example.org:8443/yuefu"),
    ],
)
def test_telegram_calls_at_a_public_address(monkeypatch, given, used):
    assert read(monkeypatch, WEBHOOK_URL=given).webhook_url == used


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("WEBHOOK_URL", "http://example.org"),
        ("WEBHOOK_URL", "https://example.org:8080"),
        ("WEBHOOK_URL", "https://example.org:99999"),
        ("WEBHOOK_URL", "https://example.org?canary=1"),
        ("WEBHOOK_URL", "example.org"),
        ("WEBHOOK_SECRET", "canary canary"),
        ("WEBHOOK_SECRET", "canary.canary"),
        ("WEBHOOK_SECRET", "canary" * 43),
        ("LISTEN", "8080"),
        ("LISTEN", "canary"),
        ("LISTEN", "127.0.0.1:65536"),
        ("LISTEN", "::1:8080"),
    ],
)
def test_what_telegram_or_the_machine_would_refuse_is_refused_at_once(monkeypatch, name, value):
    with pytest.raises(SettingsError, match=f"YUEFU_{name}") as caught:
        read(monkeypatch, **{name: value})
    assert "canary" not in str(caught.value)


def test_a_server_of_ones_own_calls_wherever_it_is_told(monkeypatch):
    own = {"TELEGRAM_API": "http://127.0.0.1:8081", "WEBHOOK_URL": "http://127.0.0.1:8080"}
    assert read(monkeypatch, **own).webhook_url == own["WEBHOOK_URL"]


def test_the_secret_of_calls_is_the_given_one_or_follows_from_the_token(monkeypatch):
    def secret(**settings):
        loaded = read(monkeypatch, **settings)
        assert loaded.webhook_secret.get_secret_value() in loaded.secrets
        return loaded.webhook_secret.get_secret_value()

    derived = secret(TELEGRAM_TOKEN=CANARY)
    assert re.fullmatch(r"[0-9a-f]{64}", derived)
    assert secret(TELEGRAM_TOKEN=CANARY, WEBHOOK_SECRET="") == derived
    assert secret(TELEGRAM_TOKEN=f"{CANARY}x") != derived
    assert secret(WEBHOOK_SECRET="A-z_0") == "A-z_0"


def test_who_has_no_token_has_no_secret_that_others_could_guess(monkeypatch):
    assert read(monkeypatch).webhook_secret.get_secret_value() == ""


def test_a_folder_of_data_is_made_for_nobody_else(tmp_path):
    settings = BotSettings(data=tmp_path / "yuefu")
    assert settings.pseudonyms.of("telegram:1") == settings.pseudonyms.of("telegram:1")
    assert settings.data.stat().st_mode & 0o777 == 0o700


IN_A_BACKGROUND = """
import signal
import bot.__main__ as it

signal.signal(signal.SIGINT, signal.SIG_IGN)  # as a script's shell has it
it.app = lambda: (print(flush=True), signal.pause())
it.main()
"""


def test_a_bot_that_a_script_started_in_its_background_stops_when_told_to():
    process = subprocess.Popen(
        [sys.executable, "-c", IN_A_BACKGROUND], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    try:
        assert process.stdout is not None
        process.stdout.readline()
        process.terminate()
        assert process.wait(timeout=30) == -signal.SIGINT
    finally:
        process.kill()
        process.communicate()

"""Each thing that the doctor looks at by itself: what it says, and what it never says."""

import asyncio
import errno
import os
import re
import shutil
import socket
import tempfile
from collections import namedtuple
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from bot import texts
from bot.doctor import cards, clock, data, examination, listening, place, report, variables
from bot.doctor.agreement import check_agreement
from bot.doctor.database import disk_kind
from bot.doctor.finding import Finding, Mark, fine, warning, wrong
from bot.doctor.variables import Case, read_environment
from bot.language import Language
from bot.settings import BotSettings
from engine.web import Answer, App, Route
from engine.web import listening as web_listening
from tests.fakes.fonts import make_font
from tests.fakes.ports import free_port
from trainer.settings import TrainerSettings

CANARY = "canary-9f3a7c21"
TOKEN = f"123456:{CANARY}"


@pytest.fixture(autouse=True)
def _nothing_is_set(monkeypatch):
    for name in (*os.environ,):
        if name.startswith("YUEFU_"):
            monkeypatch.delenv(name)


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that everybody on this machine can look into, as pytest's cannot be."""
    folder = Path(tempfile.mkdtemp(prefix="yuefu-test-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def read(monkeypatch, **settings):
    for name, value in settings.items():
        monkeypatch.setenv(name, str(value))
    return read_environment()


def named(findings: list[Finding]) -> dict[str, Mark]:
    return {finding.name: finding.mark for finding in findings}


def said(findings: list[Finding]) -> str:
    return "\n".join(
        f"{finding.say(language)} {finding.advise(language)}"
        for finding in findings
        for language in Language
    )


# --- variables -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("YUEFU_REDIS_URI", "YUEFU_REDIS_URL"),
        ("YUEFU_TELEGRAM_TOKEN_FILES", "YUEFU_TELEGRAM_TOKEN_FILE"),
        ("YUEFU_CURATOR", "YUEFU_CURATORS"),
        ("YUEFU_NIGHTLY_HOUR", "YUEFU_NIGHTLY_HOURS"),
    ],
)
def test_a_typo_is_named_with_what_was_likely_meant(monkeypatch, name, meant):
    findings = read(monkeypatch, **{name: CANARY}).findings
    assert named(findings) == {"settings.name": Mark.WRONG}
    assert name in said(findings)
    assert re.search(rf"\b{meant}\b", said(findings))
    assert CANARY not in said(findings)


def test_what_is_like_no_setting_is_only_worth_a_look(monkeypatch):
    findings = read(monkeypatch, YUEFU_COFFEE=CANARY).findings
    assert named(findings) == {"settings.name": Mark.WARNING}
    assert CANARY not in said(findings)


def test_every_setting_of_every_process_is_known(monkeypatch):
    of_trainer = TrainerSettings.model_fields.keys() - BotSettings.model_fields.keys()
    assert of_trainer == variables.OF_TRAINER
    names = {variables.variable(field) for field in of_trainer}
    assert named(read(monkeypatch, **dict.fromkeys(names, "x")).findings) == {
        "settings.variables": Mark.FINE
    }


def test_a_token_without_the_prefix_is_noticed_unless_the_right_one_is_set(monkeypatch):
    assert named(read(monkeypatch, TELEGRAM_TOKEN=TOKEN).findings) == {
        "settings.prefix": Mark.WARNING
    }
    assert named(read(monkeypatch, YUEFU_TELEGRAM_TOKEN=TOKEN).findings) == {
        "settings.variables": Mark.FINE
    }


def test_of_bad_values_each_is_told_and_the_others_still_count(monkeypatch):
    reading = read(
        monkeypatch,
        YUEFU_SLOTS=CANARY,
        YUEFU_TELEGRAM_TOKEN=CANARY,
        YUEFU_TELEGRAM_API=CANARY,
        YUEFU_ZONE="Asia/Tokyo",
    )
    assert [finding.mark for finding in reading.findings] == [Mark.WRONG] * 3
    assert reading.case.unusable == {"slots", "telegram_token", "telegram_api"}
    assert reading.case.settings.zone == "Asia/Tokyo"
    assert CANARY in reading.secrets
    assert CANARY not in said(reading.findings)
    assert named(reading.case.needs("x.y", "slots", "zone")) == {"x.y": Mark.SKIPPED}
    assert reading.case.needs("x.y", "zone") == []


def test_that_even_what_is_usual_is_refused_ends_in_a_finding(monkeypatch):
    monkeypatch.setattr("bot.settings.find_zone", lambda _: None)
    reading = read(monkeypatch)
    assert named(reading.findings) == {"settings.value": Mark.WRONG}
    assert reading.case.unusable == {"zone"}


@pytest.mark.parametrize(
    ("settings", "marks"),
    [
        ({"YUEFU_REDIS_URL": ""}, {"settings.empty": Mark.WRONG}),
        ({"YUEFU_PSEUDONYM_KEY": ""}, {"settings.empty": Mark.WRONG}),
        ({"YUEFU_DISCORD_TOKEN": ""}, {"settings.empty": Mark.WARNING}),
        ({"YUEFU_CURATORS": "", "YUEFU_WORDS": ""}, {"settings.variables": Mark.FINE}),
        ({"YUEFU_TELEGRAM_TOKEN": f'"{TOKEN}"'}, {"settings.quoted": Mark.WRONG}),
        ({"YUEFU_REDIS_URL": "redis://h "}, {"settings.quoted": Mark.WRONG}),
    ],
)
def test_nothing_and_quotes_are_no_values(monkeypatch, settings, marks):
    findings = read(monkeypatch, **settings).findings
    assert marks.items() <= named(findings).items()
    assert CANARY not in said(findings)


def test_a_file_that_cannot_be_read_is_named_and_the_rest_still_counts(monkeypatch, tmp_path):
    (tmp_path / "key").write_bytes(b"\xff" * 40)
    reading = read(
        monkeypatch,
        YUEFU_TELEGRAM_TOKEN_FILE=tmp_path / "nowhere",
        YUEFU_PSEUDONYM_KEY_FILE=tmp_path / "key",
        YUEFU_LOG_LEVEL="ERROR",
    )
    assert [finding.name for finding in reading.findings] == ["settings.file"] * 2
    assert "No such file" in said(reading.findings)
    assert reading.case.settings.log_level == "ERROR"
    assert reading.case.unusable == {"telegram_token", "pseudonym_key"}


def test_a_file_with_nothing_in_it_and_one_beside_a_variable_are_noticed(monkeypatch, tmp_path):
    for name, text in (("empty", "\n"), ("full", TOKEN)):
        (tmp_path / name).write_text(text)
    findings = read(
        monkeypatch,
        YUEFU_DISCORD_TOKEN_FILE=tmp_path / "empty",
        YUEFU_TELEGRAM_TOKEN_FILE=tmp_path / "full",
        YUEFU_TELEGRAM_TOKEN=TOKEN,
    ).findings
    assert named(findings) == {"settings.empty": Mark.WRONG, "settings.twice": Mark.WARNING}


def test_a_secret_that_others_can_read_is_noticed_and_one_behind_a_closed_door_is_not(
    monkeypatch, open_folder
):
    path = open_folder / "token"
    path.write_text(TOKEN)
    path.chmod(0o444)
    findings = read(monkeypatch, YUEFU_TELEGRAM_TOKEN_FILE=path).findings
    assert named(findings) == {"settings.exposed": Mark.WARNING}
    assert f"chmod 600 {path}" in said(findings)
    open_folder.chmod(0o700)
    assert named(read_environment().findings) == {"settings.variables": Mark.FINE}


def test_secrets_are_known_with_the_passwords_in_addresses(monkeypatch, tmp_path):
    (tmp_path / "url").write_text(f"redis://u:{CANARY}%2F1@host/0\n")
    secrets = read(
        monkeypatch,
        YUEFU_REDIS_URL_FILE=tmp_path / "url",
        YUEFU_DATABASE_URL="postgresql://u:pw-of-database@host/db",
        YUEFU_DISCORD_TOKEN="nobody knows",
    ).secrets
    assert {f"{CANARY}%2F1", f"{CANARY}/1", "pw-of-database", "nobody knows"} <= secrets


# --- agreement -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "marks"),
    [
        ({"webhook_url": "https://h"}, {"settings.idle": Mark.WARNING}),
        ({"webhook_url": "https://h", "telegram_token": TOKEN}, {}),
        ({"webhook_secret": "s", "telegram_token": TOKEN}, {"settings.idle": Mark.WARNING}),
        ({"curators": "telegramm:42"}, {"settings.platforms": Mark.WRONG}),
        ({"curators": "telegram:42, discord:7"}, {}),
        (
            {"chats": "telegram:1", "discord_token": "d", "telegram_token": TOKEN},
            {"settings.chats": Mark.WARNING},
        ),
        ({"person_per_day": 10, "chat_per_day": 5}, {"settings.limits": Mark.WARNING}),
        ({"person_per_day": 10, "chat_per_day": 0}, {}),
        ({"database_url": "postgresql://h/db"}, {"settings.key": Mark.WARNING}),
        ({"database_url": "postgresql://h/db", "pseudonym_key": "k" * 32}, {}),
        ({"redis_url": "redis://far/0"}, {"settings.anthology": Mark.WARNING}),
        ({"redis_url": "redis://127.0.0.1/0"}, {}),
        ({"redis_url": "what?"}, {}),
        (
            {"telegram_token": TOKEN, "telegram_api": "http://far:8081"},
            {"settings.api": Mark.WARNING},
        ),
        ({"telegram_token": TOKEN, "telegram_api": "http://127.0.0.1:8081"}, {}),
    ],
)
def test_settings_that_do_not_go_together_are_told(settings, marks):
    assert named(check_agreement(Case(settings=BotSettings(**settings)))) == marks


# --- the data folder -------------------------------------------------------------------------


def case_of(folder: Path, **settings) -> Case:
    return Case(settings=BotSettings(data=folder, **settings))


def test_a_data_folder_is_looked_at_and_not_made(tmp_path):
    folder = tmp_path / "a" / "b"
    found = named(data.check_data(case_of(folder)))
    assert found == {"data.folder": Mark.SKIPPED, "data.disk": Mark.FINE}
    assert not list(tmp_path.iterdir())
    folder.mkdir(parents=True)
    assert named(data.check_data(case_of(folder)))["data.folder"] is Mark.FINE


def test_a_data_folder_that_cannot_be_is_wrong(tmp_path):
    (tmp_path / "file").write_text("")
    assert named(data.check_data(case_of(tmp_path / "file" / "data"))) == {
        "data.folder": Mark.WRONG
    }


def test_a_data_folder_that_others_can_look_into_is_noticed(open_folder):
    assert named(data.check_data(case_of(open_folder)))["data.exposed"] is Mark.WARNING
    open_folder.chmod(0o700)
    assert "data.exposed" not in named(data.check_data(case_of(open_folder)))


@pytest.mark.parametrize(
    ("free", "mark"),
    [(data.LOW, Mark.FINE), (data.LOW - 1, Mark.WARNING), (data.FULL - 1, Mark.WRONG)],
)
def test_a_disk_that_fills_up_is_noticed_in_time(monkeypatch, tmp_path, free, mark):
    usage = namedtuple("usage", "total free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(1 << 40, free))
    assert data.check_disk("x.disk", tmp_path / "not" / "there").mark is mark


def test_a_disk_that_is_meant_to_be_small_is_not_full_for_that(monkeypatch, tmp_path):
    usage = namedtuple("usage", "total free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(64 << 20, 60 << 20))
    assert data.check_disk("x.disk", tmp_path).mark is Mark.FINE


def test_the_key_of_pseudonyms_is_made_later_kept_or_given(tmp_path):
    assert named(data.check_key(case_of(tmp_path))) == {"data.key": Mark.SKIPPED}
    (tmp_path / "pseudonym.key").write_bytes(b"k" * 32)
    assert named(data.check_key(case_of(tmp_path))) == {"data.key": Mark.FINE}
    given = case_of(tmp_path, pseudonym_key="k" * 32)
    assert named(data.check_key(given)) == {"data.key": Mark.FINE}


def test_a_key_that_can_be_guessed_is_noticed(tmp_path):
    short = case_of(tmp_path, pseudonym_key=SecretStr("secret"))
    assert named(data.check_key(short)) == {"data.key": Mark.WARNING}


def test_an_anthology_without_its_key_is_wrong(tmp_path):
    (tmp_path / "anthology.sqlite3").touch()
    findings = data.check_key(case_of(tmp_path))
    assert named(findings) == {"data.key": Mark.WRONG}
    assert "/forget" in said(findings)


@pytest.mark.parametrize(
    ("path", "kind"), [("data", "nfs4"), ("data/local", "ext4"), ("other", "overlay")]
)
def test_the_kind_of_a_disk_is_that_of_the_nearest_mount(tmp_path, path, kind):
    (tmp_path / "data" / "local").mkdir(parents=True)
    mounts = tmp_path / "mounts"
    mounts.write_text(
        "overlay / overlay rw 0 0\n"
        f"host:/x {tmp_path}/data nfs4 rw 0 0\n"
        f"/dev/sda1 {tmp_path}/data/local ext4 rw 0 0\n"
    )
    assert disk_kind(tmp_path / path, mounts) == kind


# --- cards and words -------------------------------------------------------------------------


def test_a_font_is_good_poor_or_none(tmp_path):
    usual = "".join(cards.USUAL.values())
    good = make_font(tmp_path / "good.ttf", usual)
    poor = make_font(tmp_path / "poor.ttf", usual.replace("月", ""))
    (tmp_path / "none.ttf").write_text("none")
    for path, mark in ((good, Mark.FINE), (poor, Mark.WARNING)):
        assert named(cards.check_font(case_of(tmp_path, card_font=path))) == {"cards.font": mark}
    broken = cards.check_font(case_of(tmp_path, card_font=tmp_path / "none.ttf"))
    assert named(broken) == {"cards.font": Mark.WRONG}
    assert "月" in said(cards.check_font(case_of(tmp_path, card_font=poor)))


def test_without_any_font_it_is_said_which_to_install(monkeypatch, tmp_path):
    monkeypatch.setattr("bot.cards.fonts.USUAL_FONTS", ())
    findings = cards.check_font(case_of(tmp_path))
    assert named(findings) == {"cards.font": Mark.WARNING}
    assert "fonts-lxgw-wenkai" in said(findings)


@pytest.mark.parametrize(
    ("content", "mark"),
    [
        (b"\xe6\x9c\x88\n", Mark.FINE),
        (b"# none\n", Mark.WARNING),
        (b"!!!\n", Mark.WRONG),
        (b"\xff", Mark.WRONG),
        (None, Mark.WRONG),
    ],
)
def test_a_list_of_words_is_read_or_said_to_be_wrong(tmp_path, content, mark):
    path = tmp_path / "words"
    if content is not None:
        path.write_bytes(content)
    assert named(cards.check_words(case_of(tmp_path, words=path))) == {"cards.words": mark}


# --- clocks ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ahead_s", "mark"),
    [(0.3, Mark.FINE), (-1.9, Mark.FINE), (5.0, Mark.WARNING), (-90.0, Mark.WRONG)],
)
def test_a_clock_that_is_off_is_noticed(ahead_s, mark):
    finding = clock.compare("Telegram", ahead_s)
    assert (finding.name, finding.mark) == ("clock.telegram", mark)


def test_the_date_of_an_answer_tells_the_clock_of_whoever_gave_it():
    date = "Sat, 21 Nov 2026 12:00:00 GMT"
    noon_s = 1_795_262_400.0
    [finding] = clock.compare_date("Telegram", date, lambda: noon_s + 60.5)
    assert finding.mark is Mark.WRONG
    assert "60.0 s ahead of" in finding.say(Language.EN)
    assert clock.compare_date("Telegram", None, lambda: noon_s) == []
    assert clock.compare_date("Telegram", "noon", lambda: noon_s) == []


def test_zones_are_there_or_said_to_be_missing(monkeypatch, tmp_path):
    assert named(clock.check_zone(case_of(tmp_path))) == {"clock.zone": Mark.FINE}
    monkeypatch.setattr(clock, "available_timezones", set)
    assert named(clock.check_zone(case_of(tmp_path))) == {"clock.zone": Mark.WRONG}


# --- listening -------------------------------------------------------------------------------


async def test_an_address_is_free_ours_or_somebody_elses(tmp_path):
    address = f"127.0.0.1:{free_port()}"
    case = case_of(tmp_path, listen=address)
    assert (await listening.check_listening(case))[0].said is texts.LISTEN_FREE

    async def live(_request):
        return Answer()

    health = App({"/healthz": Route(methods=("GET",), answer=live)})
    async with web_listening(address, health):
        assert (await listening.check_listening(case))[0].said is texts.LISTEN_OURS
    async with web_listening(address, App({})):
        [finding] = await listening.check_listening(case)
    assert (finding.said, finding.mark) == (texts.LISTEN_TAKEN, Mark.WRONG)


async def test_an_address_that_is_not_to_be_had_is_wrong(monkeypatch, tmp_path):
    async def refuse(*_):
        raise PermissionError(errno.EACCES, "no")

    monkeypatch.setattr(asyncio, "start_server", refuse)
    case = case_of(tmp_path, listen=f"127.0.0.1:{free_port()}")
    [finding] = await listening.check_listening(case)
    assert (finding.said, finding.mark) == (texts.LISTEN_IMPOSSIBLE, Mark.WRONG)


@pytest.mark.parametrize(
    ("settings", "marks"),
    [
        ({}, {}),
        ({"webhook_url": "https://localhost"}, {"listen.public": Mark.WRONG}),
        ({"webhook_url": "https://192.168.1.2"}, {"listen.public": Mark.WRONG}),
        (
            {"webhook_url": "http://localhost/telegram", "telegram_api": "http://127.0.0.1:1"},
            {"listen.public": Mark.FINE, "listen.path": Mark.WARNING},
        ),
    ],
)
async def test_a_public_address_has_to_be_one(monkeypatch, tmp_path, settings, marks):
    known = [(socket.AF_INET, None, 0, "", ("192.168.1.2", 0))]

    async def look_up(*_):
        return known

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", look_up)
    assert named(await listening.check_public_address(case_of(tmp_path, **settings))) == marks


# --- all of it -------------------------------------------------------------------------------


async def test_a_check_that_fails_or_hangs_is_a_finding_and_says_nothing_of_secrets():
    async def fail():
        raise RuntimeError(CANARY)

    failed = await examination.guarded("redis.keeping", fail())
    late = await examination.guarded("redis.keeping", asyncio.sleep(60, []), limit_s=0.01)
    assert named(failed) == {"redis.keeping": Mark.WRONG}
    assert named(late) == {"redis.keeping": Mark.WARNING}
    assert CANARY not in said(failed)


async def test_what_may_not_be_looked_at_is_said_to_be_so():
    async def look():
        raise PermissionError(errno.EACCES, "no", "/root/data")

    [finding] = await examination.guarded("database.reach", look())
    assert (finding.said, finding.mark) == (texts.DOCTOR_FORBIDDEN, Mark.WRONG)
    assert "/root/data" in finding.say(Language.EN)


def test_every_text_of_a_finding_gets_what_it_asks_for_in_every_language():
    values = {"platform": "Telegram", "place": "h", "seconds": "3", "variable": "V"}
    finding = wrong(
        "x.y", texts.PLATFORM_AWAY, texts.PLATFORM_AWAY_DO, why=texts.WHY_SILENT, **values
    )
    assert "3 秒" in finding.say(Language.ZH)
    assert "within 3 s" in finding.say(Language.EN)


def test_the_report_shows_signs_advice_and_a_sum(capsys):
    findings = [
        fine("redis.policy", texts.REDIS_POLICY_FINE),
        warning("data.key", texts.KEY_SHORT, texts.KEY_SHORT_DO, count=3),
        wrong("redis.file", texts.REDIS_AOF_OFF, texts.REDIS_AOF_OFF_DO),
    ]
    report.show(findings, Language.EN, secrets={"appendonly"})
    shown = capsys.readouterr().out
    for line in ("Redis\n  ✓ ", "\n  ! The key", "\n  ✗ AOF is off", "    → Put *** yes and"):
        assert line in shown
    assert shown.endswith("\nTo be fixed (✗): 1. Worth a look (!): 1.\n")


@pytest.mark.parametrize(
    ("url", "here", "shown"),
    [
        ("http://[::1]:80/x", True, "[::1]:80"),
        ("https://example.org/path?token=1", False, "example.org"),
        ("http://u:p@127.8.0.1:1", True, "127.8.0.1:1"),
    ],
)
def test_a_place_is_shown_without_what_may_be_secret(url, here, shown):
    found = place.place_of(url)
    assert (found.is_here, str(found)) == (here, shown)

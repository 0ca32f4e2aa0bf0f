"""`python -m bot console`, `telegram`, `discord`, `doctor` and `ratings`."""

import asyncio
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path
from typing import Annotated, TextIO

import typer

from bot.errors import BotError
from bot.language import language_of
from bot.settings import BotSettings
from engine import logs
from engine.files import make_private
from engine.settings import SettingsError, load_settings

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    # Its tracebacks show local variables, and so secrets.
    pretty_exceptions_enable=False,
    help="Yuefu in a chat.",
)
ratings = typer.Typer(no_args_is_help=True, help="The ratings that the model learns from.")
app.add_typer(ratings, name="ratings")


Lang = Annotated[str | None, typer.Option(help="zh, zh-Hant or en; by default that of the locale.")]


@app.command()
def console(
    once: Annotated[str | None, typer.Option(help="Answer this one line and leave.")] = None,
    lang: Lang = None,
    save_cards: Annotated[
        Path | None, typer.Option(help="The folder to save cards in; by default one in YUEFU_DATA.")
    ] = None,
) -> None:
    """Talk to the poet in this terminal."""
    settings = load_settings(BotSettings)
    with _open_log(settings) as stream:
        # Late, like the import below: what is wrong is said at once, and Telegram's library is
        # for those who serve Telegram.
        from bot.console.service import run  # noqa: PLC0415

        logs.configure(level=settings.log_level, secrets=settings.secrets, stream=stream)
        if not run(settings, language_of(lang or _locale()), once=once, cards=save_cards):
            raise typer.Exit(1)


@app.command()
def telegram() -> None:
    """Serve a Telegram bot; its token is in YUEFU_TELEGRAM_TOKEN."""
    settings = load_settings(BotSettings)
    from bot.telegram.service import serve  # noqa: PLC0415

    logs.configure(level=settings.log_level, secrets=settings.secrets)
    with suppress(KeyboardInterrupt):
        asyncio.run(serve(settings))


@app.command()
def discord() -> None:
    """Serve a Discord bot; its token is in YUEFU_DISCORD_TOKEN."""
    settings = load_settings(BotSettings)
    from bot.discord.service import serve  # noqa: PLC0415

    logs.configure(level=settings.log_level, secrets=settings.secrets)
    with suppress(KeyboardInterrupt):
        asyncio.run(serve(settings))


@app.command()
def doctor(
    lang: Lang = None,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Look at all that Yuefu stands on, and say what to do about it; changes nothing.

    Ends with 1 if something has to be put right.
    """
    from bot.doctor.report import run  # noqa: PLC0415

    if not run(language_of(lang or _locale()), as_json=as_json):
        raise typer.Exit(1)


@ratings.command()
def undo(
    person: Annotated[str | None, typer.Option(help="Who gave them: telegram:42.")] = None,
    chat: Annotated[str | None, typer.Option(help="Where: telegram:-10042.")] = None,
    since: Annotated[
        str | None, typer.Option(help="Given then or later: 2026-11-21, 2026-11-21T08:00+08:00.")
    ] = None,
    until: Annotated[str | None, typer.Option(help="Given before; UTC if no zone is said.")] = None,
    *,
    yes: Annotated[bool, typer.Option("--yes", help="Do it; else they are only counted.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Delete ratings by person, chat or interval, so that no training meets them again."""
    settings = load_settings(BotSettings)
    from bot.upkeep import tell, tell_as_json, undo_ratings  # noqa: PLC0415

    logs.configure(level=settings.log_level, secrets=settings.secrets)
    extent = asyncio.run(
        undo_ratings(settings, person=person, chat=chat, since=since, until=until, undone=yes)
    )
    typer.echo((tell_as_json if as_json else tell)(extent, undone=yes))


@ratings.callback()
def _ratings() -> None:
    """Without it, the only command would take the place of the group."""


def _open_log(settings: BotSettings) -> TextIO:
    """The console's log, which must not come between the lines of the chat."""
    try:
        make_private(settings.data)
        return (settings.data / "console.log").open("a", encoding="utf-8")
    except OSError as error:
        raise SettingsError(f"YUEFU_DATA: {error.strerror}") from None


def _locale() -> str | None:
    return next(filter(None, map(os.environ.get, ("LC_ALL", "LC_MESSAGES", "LANG"))), None)


def main() -> None:
    """Run a command; what goes wrong is one line on stderr, and an exit code that is not 0."""
    # Being told to stop is the same by Ctrl-C and by a supervisor: everything is put away first.
    # Where a script started it in the background, Ctrl-C is ignored until we ask for it.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    try:
        app()
    except (BotError, SettingsError) as error:
        typer.echo(str(error), err=True)
        sys.exit(2 if isinstance(error, SettingsError) else 1)


if __name__ == "__main__":
    main()

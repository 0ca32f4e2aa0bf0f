"""`python -m engine`: serve the queue, or write poems right here."""

import asyncio
import json
import random
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from typing import Annotated

import typer
from redis.asyncio import Redis
from rich.console import Console
from rich.live import Live

from engine import dead, logs
from engine.ask import AskError, ask
from engine.client import EngineError, EngineUnavailableError, connect
from engine.dead import Dead, DeadError, LaneFullError
from engine.embedded import EmbeddedError
from engine.errors import CheckpointError
from engine.jobs import USUAL_CELL, USUAL_TEMPERATURE, Cell, Job, Poem
from engine.printing import printable
from engine.settings import EngineSettings, SettingsError, load_settings
from engine.top import Picture, draw, look
from engine.verse.forms import FORMS, FormName

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
_dead = typer.Typer(no_args_is_help=True, help="Jobs that were buried: look at them, retry them.")
app.add_typer(_dead, name="dead")
_out = Console(highlight=False, soft_wrap=True)
_err = Console(stderr=True, highlight=False, soft_wrap=True)


@contextmanager
def _plainly() -> Iterator[None]:
    """End with one line on stderr and status 2 where the person can mend what is wrong."""
    try:
        yield
    except (
        AskError,
        CheckpointError,
        DeadError,
        EmbeddedError,
        EngineError,
        SettingsError,
        OSError,
    ) as error:
        _complain(error)
        raise typer.Exit(2) from None


def _begin_here() -> EngineSettings:
    """The settings, for work in this process whose output is what is asked for, not its log."""
    settings = load_settings(EngineSettings)
    logs.configure(level="WARNING", secrets=settings.secrets)
    return settings


def _complain(error: Exception) -> None:
    _err.print(f"error: {error}", style="red", markup=False)


@app.command()
def serve() -> None:
    """Take jobs from Redis and write their poems, many at a time, until told to stop."""
    with _plainly():
        settings = load_settings(EngineSettings)
        logs.configure(level=settings.log_level, secrets=settings.secrets)
        # Late: it loads torch, which takes seconds, and what is wrong is said at once.
        from engine.service import serve as serve_queue  # noqa: PLC0415

        asyncio.run(serve_queue(settings))


@app.command()
def compose(
    opening: Annotated[str, typer.Argument(help="What the poem begins with.")] = "",
    *,
    form: Annotated[FormName | None, typer.Option(help="The form; else one that fits.")] = None,
    style: Annotated[Cell, typer.Option(help="The cell to write with.")] = USUAL_CELL,
    temperature: Annotated[float, typer.Option(min=0.1, max=2.0)] = USUAL_TEMPERATURE,
    rhyme: Annotated[
        str | None, typer.Option(help="A rhyme group (東, 先, 陽 …) or a character that rhymes.")
    ] = None,
    acrostic: Annotated[
        str | None, typer.Option(help="The first character of each line, 4 or 8.")
    ] = None,
    theme: Annotated[str, typer.Option(help="What it is about: 邊塞, 離別 …")] = "",
    seed: Annotated[int | None, typer.Option(help="The same seed, the same poem.")] = None,
    count: Annotated[int, typer.Option(min=1, max=10_000, help="How many poems.")] = 1,
    candidates: Annotated[
        int | None, typer.Option(min=1, max=64, help="How many to write for each, to pick from.")
    ] = None,
    beam: Annotated[
        int | None, typer.Option(min=1, max=64, help="Search with so many beams; draw nothing.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
) -> None:
    """Write poems here and now, with the scheduler and runner that `serve` uses."""
    with _plainly():
        settings = _begin_here()
        asked = ask(opening, acrostic=acrostic, form=form, rhyme=rhyme, theme=theme)
        first = random.SystemRandom().randrange(2**31) if seed is None else seed
        jobs = [
            Job(
                id=f"compose:{number}",
                client="compose",
                chat="compose",
                form=asked.form,
                cell=style,
                temperature=temperature,
                seed=first + number,
                opening=opening,
                frame=asked.frame,
                rhyme=asked.rhyme,
                theme=asked.theme,
                candidates=candidates,
            )
            for number in range(count)
        ]
        # Late, as in `serve`.
        from engine import hand  # noqa: PLC0415

        poems = hand.write(settings, jobs, beams=beam)
        for poem in poems:
            _show(poem, as_json=as_json)


@app.command()
def bench(
    style: Annotated[Cell, typer.Option(help="The cell whose champion is timed.")] = USUAL_CELL,
    *,
    rounds: Annotated[int, typer.Option(min=1, help="Of which the median counts.")] = 5,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
) -> None:
    """Time how fast this machine writes, in every precision that it has."""
    with _plainly():
        settings = _begin_here()
        from engine import hand  # noqa: PLC0415

        title, speeds = hand.time_writing(settings, style, rounds=rounds)
        if not as_json:
            _out.print(title)
        for speed in speeds:
            if as_json:
                typer.echo(json.dumps(asdict(speed)))
            else:
                _out.print(
                    f"{speed.precision}  batch {speed.batch:4}  "
                    f"{speed.poems_per_second:8,.0f} poems/s  {speed.step_us:8,.0f} µs a step"
                )


@app.command("compile")
def compile_loops() -> None:
    """Compile for this processor what writes poems: else the first start does, and takes longer."""
    with _plainly():
        settings = _begin_here()
        from engine import hand  # noqa: PLC0415

        for what, took_s in hand.compile_loops(settings):
            _out.print(f"{what}: {took_s:.1f} s")


@app.command()
def inspect(
    checkpoints: Annotated[
        list[str],
        typer.Argument(metavar="CHECKPOINT...", help="Checkpoint folders, ids, or cells' names."),
    ],
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
) -> None:
    """Verify checkpoints and say what each is; of one that cannot be used, why."""
    usable = True
    for checkpoint in checkpoints:
        try:
            _inspect(checkpoint, as_json=as_json)
        except typer.Exit:
            usable = False
    if not usable:
        raise typer.Exit(2)


def _inspect(checkpoint: str, *, as_json: bool) -> None:
    """Verify a checkpoint and say what it is."""
    with _plainly():
        settings = load_settings(EngineSettings)
        from engine import hand  # noqa: PLC0415

        figures = hand.describe(settings, checkpoint)
    if as_json:
        typer.echo(json.dumps(figures, ensure_ascii=False))
        return
    for name, value in figures.items():
        _out.print(f"{name:16} {value}")


@app.command()
def top(
    *,
    once: Annotated[bool, typer.Option("--once", help="One picture, and leave.")] = False,
    every: Annotated[float, typer.Option(min=0.1, help="Seconds between two looks.")] = 1.0,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a look.")] = False,
) -> None:
    """Show what waits, who writes, how fast, and what was buried, for as long as you look."""

    async def show_once(redis: Redis) -> None:
        _picture(await look(redis), as_json=as_json)

    async def print_on(redis: Redis) -> None:
        while True:
            _picture(await look(redis), as_json=True)
            await asyncio.sleep(every)

    async def show_on(redis: Redis) -> None:
        with Live(console=_out, screen=_out.is_terminal, auto_refresh=False) as live:
            while True:
                try:
                    live.update(draw(await look(redis)), refresh=True)
                except EngineUnavailableError as error:
                    live.update(str(error), refresh=True)
                await asyncio.sleep(every)

    go_on = print_on if as_json else show_on
    with suppress(KeyboardInterrupt):
        _with_redis(show_once if once else go_on)


def _picture(picture: Picture, *, as_json: bool) -> None:
    if as_json:
        typer.echo(picture.to_json())
    else:
        _out.print(draw(picture))


@_dead.command(name="list")
def list_dead(
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
) -> None:
    """Show what was buried: id, when, lane, attempts, job and why; oldest first."""

    async def show(redis: Redis) -> None:
        count = 0
        async for entry in dead.listed(redis):
            count += 1
            _show_dead(entry, as_json=as_json)
        if not (count or as_json):
            typer.echo("nothing is buried")

    _with_redis(show)


@_dead.command(name="retry")
def retry_dead(
    ids: Annotated[list[str] | None, typer.Argument(help="Ids of `dead list`.")] = None,
    *,
    every: Annotated[bool, typer.Option("--all", help="All that can be retried.")] = False,
) -> None:
    """Put buried jobs back into their lanes, with their attempts counted anew."""
    if bool(ids) == every:
        _complain(DeadError("name the ids of entries, or else --all"))
        raise typer.Exit(2)
    refused: list[DeadError] = []

    async def put_back(redis: Redis) -> None:
        entries = [entry async for entry in dead.listed(redis)] if every else []
        for entry_id in ids or [entry.id for entry in entries]:
            try:
                entry = await dead.find(redis, entry_id)
                await dead.retry(redis, entry)
            except LaneFullError:
                raise
            except DeadError as error:
                refused.append(error)
                _complain(error)
            else:
                typer.echo(f"{entry.id}  job {entry.job_id} is back in its lane")

    _with_redis(put_back)
    if refused:
        raise typer.Exit(2)


def _with_redis(do: Callable[[Redis], Awaitable[None]]) -> None:
    """Do something with the Redis of the settings."""

    async def run() -> None:
        redis = connect(settings)
        try:
            await do(redis)
        finally:
            await redis.aclose()

    with _plainly():
        settings = load_settings(EngineSettings)
        logs.configure(level="ERROR", secrets=settings.secrets)
        asyncio.run(run())


def _show_dead(entry: Dead, *, as_json: bool) -> None:
    when = entry.when.isoformat(timespec="seconds")
    if as_json:
        names = ("id", "lane", "attempts", "job_id", "why")
        fields = {"when": when} | {name: getattr(entry, name) for name in names}
        typer.echo(json.dumps(fields, ensure_ascii=False))
        return
    lane, job = entry.lane or "-", entry.job_id or "-"
    line = f"{entry.id:18} {when} {lane:5} {entry.attempts:2}  {job}  {entry.why}"
    typer.echo(printable(line))


def _show(poem: Poem, *, as_json: bool) -> None:
    if as_json:
        names = ("form", "rhyme", "tones", "cell", "checkpoint", "seed", "logprob")
        fields = {name: getattr(poem, name) for name in names}
        fields = {"text": poem.text, "lines": poem.lines, **fields}
        typer.echo(json.dumps(fields, ensure_ascii=False))
        return
    for index in range(0, len(poem.lines), 2):
        _out.print(f"{poem.lines[index]}，{poem.lines[index + 1]}。")
    _out.print(f"[dim]{FORMS[poem.form].title} · {poem.rhyme}韻 · {poem.cell} · {poem.seed}[/]\n")


if __name__ == "__main__":
    sys.exit(app())

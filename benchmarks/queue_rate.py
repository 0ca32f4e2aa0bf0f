"""How fast jobs go round: our queue beside arq and taskiq, on the same server in the same run.

    python -m benchmarks.queue_rate [--json] [--arq PYTHON] [--taskiq PYTHON]

The server is the embedded one, with its append-only file synced every second. Worker and client
are processes of their own. A round trip begins as a job is asked for and ends with its outcome in
the client's hands; the rate counts all that is done to a job, to the last acknowledgement. Each of
the rivals pins another redis-py than ours, so each runs in an interpreter of its own:

    python -m venv arq && arq/bin/pip install arq
    python -m venv taskiq && taskiq/bin/pip install taskiq-redis hiredis
    python -m benchmarks.queue_rate --arq arq/bin/python --taskiq taskiq/bin/python

Both answer by polling a key; how often is set to what serves them best (`POLL_S` of each). Neither
does for a job what ours does: admitted once, first outcome wins, quotas, lanes, leases.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from statistics import median

from redis import Redis

from benchmarks.roundtrips import Figures
from engine.embedded import EmbeddedValkey

OURS = "ours"
_START_S = 20.0
_TABLE = "{:8} {:>9} {:>9} {:>8} {:>8} {:>7}"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--arq", metavar="PYTHON", help="an interpreter that has arq")
    parser.add_argument("--taskiq", metavar="PYTHON", help="one that has taskiq-redis")
    parser.add_argument("--in-flight", default="1,16,64,256")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.0, help="of each load in each round")
    options = parser.parse_args()
    queues, skipped = {OURS: sys.executable}, {}
    for name, python in (("arq", options.arq), ("taskiq", options.taskiq)):
        if (reason := _obstacle(name, python)) is None:
            queues[name] = python
        else:
            skipped[name] = reason
    measured = measure(queues, options.in_flight, options.seconds, options.rounds)
    if options.json:
        figures = {name: [asdict(one) for one in of] for name, of in measured.items()}
        print(json.dumps({"figures": figures, "skipped": skipped}))
        return
    _show(measured, skipped)


def _obstacle(name: str, python: str | None) -> str | None:
    """Why a rival cannot run, if so."""
    if python is None:
        return f"no interpreter is named: --{name} PYTHON"
    try:
        tried = subprocess.run(
            [python, "-c", f"import benchmarks.queue_{name}"],
            capture_output=True,
            text=True,
            check=False,
        )
    except OSError as error:
        return f"{python}: {error.strerror}"
    return (tried.stderr.strip().splitlines() or ["?"])[-1] if tried.returncode else None


def measure(
    queues: Mapping[str, str], in_flight: str, seconds: float, rounds: int
) -> dict[str, list[Figures]]:
    """For each queue the medians of its rounds, load by load; rounds of all queues take turns."""
    found: dict[str, list[list[Figures]]] = defaultdict(list)
    for _ in range(rounds):
        for name, python in queues.items():
            found[name].append(_round(name, python, in_flight, seconds))
    return {name: [_median(of) for of in zip(*all_, strict=True)] for name, all_ in found.items()}


def _round(name: str, python: str, in_flight: str, seconds: float) -> list[Figures]:
    """One round of one queue, on a server that holds nothing else."""
    module = [python, "-m", f"benchmarks.queue_{name}"]
    with _server() as url, _working([*module, "work", url], url):
        asked = subprocess.run(
            [*module, "ask", url, in_flight, str(seconds)], stdout=subprocess.PIPE, check=True
        )
    return [Figures(**one) for one in json.loads(asked.stdout)]


@contextmanager
def _server() -> Iterator[str]:
    with tempfile.TemporaryDirectory(prefix="yuefu-queue-") as folder:
        server = EmbeddedValkey(Path(folder))
        try:
            yield server.url
        finally:
            server.leave()


@contextmanager
def _working(command: Sequence[str], url: str) -> Iterator[None]:
    """A worker that has connected, for as long as the block runs."""
    worker = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        _wait_for_a_client_of(url, worker)
        yield
    finally:
        worker.kill()
        worker.wait()


def _wait_for_a_client_of(url: str, worker: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + _START_S
    with Redis.from_url(url) as redis:
        while len(redis.client_list()) < 2:
            if worker.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"error: the worker does not start: {worker.args!r}")
            time.sleep(0.05)


def _median(of: Sequence[Figures]) -> Figures:
    return Figures(
        in_flight=of[0].in_flight,
        jobs_per_s=median(one.jobs_per_s for one in of),
        p50_ms=median(one.p50_ms for one in of),
        p99_ms=median(one.p99_ms for one in of),
    )


def _show(measured: Mapping[str, Sequence[Figures]], skipped: Mapping[str, str]) -> None:
    print(_TABLE.format("queue", "in flight", "jobs/s", "p50 ms", "p99 ms", "ours ×"))
    for load in zip(*measured.values(), strict=True):
        for name, one in zip(measured, load, strict=True):
            times = "" if name == OURS else f"{load[0].jobs_per_s / one.jobs_per_s:.1f}"
            rate, p50, p99 = f"{one.jobs_per_s:,.0f}", f"{one.p50_ms:.2f}", f"{one.p99_ms:.2f}"
            print(_TABLE.format(name, one.in_flight, rate, p50, p99, times))
    for name, reason in skipped.items():
        print(f"skipped {name}: {reason}")


if __name__ == "__main__":
    main()

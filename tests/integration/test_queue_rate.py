"""The benchmark of the queue measures, and says why it leaves a rival out."""

import json
import subprocess
import sys


def rate(*words: str) -> subprocess.CompletedProcess[str]:
    short = ("--rounds", "1", "--seconds", "0.3", "--in-flight", "1,8")
    return subprocess.run(
        [sys.executable, "-m", "benchmarks.queue_rate", *short, *words],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_our_queue_is_measured_and_absent_rivals_are_skipped_with_a_reason():
    result = rate("--json", "--taskiq", sys.executable)
    assert result.returncode == 0, result.stderr
    told = json.loads(result.stdout)
    [alone, eight] = told["figures"]["ours"]
    assert (alone["in_flight"], eight["in_flight"]) == (1, 8)
    assert alone["jobs_per_s"] > 0
    assert 0 < alone["p50_ms"] <= alone["p99_ms"]
    assert told["skipped"] == {
        "arq": "no interpreter is named: --arq PYTHON",
        "taskiq": "ModuleNotFoundError: No module named 'taskiq'",
    }

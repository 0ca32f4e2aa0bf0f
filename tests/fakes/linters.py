"""Programs that look at the files in `deploy/`, where they are installed."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fakes.deployed import DEPLOY


def linter(name: str) -> str:
    """A linter's path; the test is skipped where it is not installed."""
    beside = Path(sys.executable).parent
    found = shutil.which(name, path=f"{beside}{os.pathsep}{os.environ.get('PATH', '')}")
    return found or pytest.skip(f"{name} is not installed (deploy/linters.txt, deploy/runbook.md)")


def run(*command: str | Path, **environment: str) -> str:
    """What a command prints; the test fails with it where the command does."""
    done = subprocess.run(
        command,
        cwd=DEPLOY.parent,
        env=os.environ | environment,
        check=False,
        capture_output=True,
        text=True,
        timeout=50,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr

"""Start Python in a process of its own."""

import os
import shlex
import subprocess
import sys
from pathlib import Path


def run_python(folder: Path, *arguments: str, **environment: str) -> str:
    """Run Python in a folder, with these variables added to the environment; return what it printed.

    A failure ends the benchmark with what stands on the standard error of the process.
    """
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"{shlex.join(arguments)}: {done.stderr}")
    return done.stdout

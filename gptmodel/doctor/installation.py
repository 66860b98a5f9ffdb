"""The examination of what is installed: the libraries, the commands on the PATH, and the environment they come from."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from packaging.markers import Marker

import gptmodel
from gptmodel.doctor.finding import Finding
from gptmodel.units import listed

VITAL = ("torch", "dvc", "mlflow", "typer", "numpy", "pydantic")
"""Libraries without which nothing runs, or of which another version gives other results."""
PIN = re.compile(r"([\w.-]+)==([^\s;]+)(?:\s*;([^#]+))?")  # the name, the version, and where it is for
MADE_AT = re.compile(r'(?m)^command = .* -m venv (?:--[\w-]+(?:="[^"]*"|=\S+)? )*(.+)$')  # in pyvenv.cfg


def installation(root: Path) -> Iterator[Finding]:
    """Examine what is installed, and whether it is what the project at `root` needs."""
    yield from _libraries(root)
    yield from _commands()
    yield from _elsewhere(root)
    yield from _moved(root / ".venv")


def _libraries(root: Path) -> Iterator[Finding]:
    python = ".".join(map(str, sys.version_info[:3]))
    try:
        pins = _pins(root / "requirements.txt")
    except OSError:
        yield Finding("problem", "requirements.txt is missing: train depends on it; `git restore requirements.txt`")
        return
    except ValueError as error:
        reason = " ".join(str(error).split())
        yield Finding("problem", f"requirements.txt cannot be read ({reason}): `git restore requirements.txt`")
        return
    wrong = {name: installed for name, pin in pins.items() if (installed := _installed(name)) != pin}
    lines = [f"{name} {wrong[name] or 'missing'} instead of {pins[name]}" for name in wrong]
    vital = [line for line in lines if line.split()[0].lower() in VITAL]
    text, mend = "not the versions that requirements.txt pins", f"`{sys.executable} -m pip install -r requirements.txt`"
    if vital:
        yield Finding("problem", f"{text}: {listed(vital)}: {mend}")
    if others := [line for line in lines if line not in vital]:
        yield Finding("note", f"{text}: {listed(others)}: {mend}")
    if not wrong:
        yield Finding("ok", f"Python {python}; all {len(pins)} libraries have the versions that requirements.txt pins")


def _pins(requirements: Path) -> dict[str, str]:
    """Return the version of each library that is for this Python and system; ValueError for what pip would not take."""
    lines = requirements.read_text(encoding="utf-8").splitlines()
    matches = [match for line in lines if (match := PIN.match(line))]
    return {match[1]: match[2] for match in matches if match[3] is None or Marker(match[3]).evaluate()}


def _installed(name: str) -> str | None:
    try:
        return version(name).partition("+")[0]  # behind the plus: which build the index offered
    except PackageNotFoundError:
        return None


def _commands() -> Iterator[Finding]:
    """See whether `python` and `dvc`, as dvc.yaml and the user call them, are those of this environment."""
    where = Path(sys.executable).parent
    python, dvc = shutil.which("python"), shutil.which("dvc")
    probe = "import importlib.util as u, sys; print(sys.prefix); sys.exit(u.find_spec('torch') is None)"
    answer = subprocess.run([python, "-c", probe], capture_output=True, check=False) if python else None
    if answer is None or answer.returncode != 0:
        what = "`python` is not on the PATH" if python is None else f"`python` is {python}, which has no torch"
        yield Finding("problem", f"{what}: the stages cannot run; put {where} first on the PATH (activate .venv)")
        return
    if dvc is None:
        yield Finding("problem", f"`dvc` is not on the PATH: put {where} first on the PATH (activate .venv)")
        return
    # by its own word: a link to the same program may begin another environment, and a script may lead to this one
    prefix = Path(os.fsdecode(answer.stdout).strip())
    is_own = {"python": prefix.resolve() == Path(sys.prefix).resolve(), "dvc": Path(dvc).parent.samefile(where)}
    for name, path in (("python", python), ("dvc", dvc)):
        if not is_own[name]:
            yield Finding("note", f"`{name}` is {path}, but doctor runs with {sys.executable}: two environments")
    if all(is_own.values()):
        yield Finding("ok", f"`python` and `dvc` are those of {where}")


def _elsewhere(root: Path) -> Iterator[Finding]:
    """See whether this command runs another checkout's code: the .venv of another clone may be active."""
    own = Path(gptmodel.__file__ or "").resolve().parents[1]
    if (root / "gptmodel" / "__init__.py").is_file() and own != root.resolve():
        text = f"`gptmodel` runs the code in {own}, but dvc.yaml's stages run the code here"
        yield Finding("note", f"{text}; activate the .venv that `make install` makes here")


def _moved(environment: Path) -> Iterator[Finding]:
    """See whether .venv came here with a copied or moved project: its commands name the folder it was made in."""
    config = environment / "pyvenv.cfg"
    made_at = MADE_AT.search(config.read_text(encoding="utf-8", errors="replace")) if config.is_file() else None
    if made_at and Path(made_at[1]).resolve() != environment.resolve():
        text = f".venv was made as {made_at[1]} and came here by a copy or a move: its commands run what is there"
        yield Finding("problem", f"{text}; `rm -r .venv && make install` makes it anew")

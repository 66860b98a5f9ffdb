"""A collection of malicious model files and snapshots: nothing of them runs, and none ends or fills the interpreter.

Each has the digest that its content needs. All are read in a process of their own, under a limit of memory.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from forge import entries_of, model_bytes, snapshot_bytes, zipped
from malicious import collection
from model_helpers import ROOT, small_values

pytestmark = pytest.mark.filterwarnings("ignore:Duplicate name")  # which zipfile says of what is made here on purpose
GOOD = ("good", "good from another folder", "good behind something else")
PEAK_MB = 900
SECONDS = 30.0  # of the processor: those of the clock would be those of a busy machine


def read(folder: Path, files: dict[str, bytes]) -> dict[str, dict[str, Any]]:
    """Load every file in a process of its own; its name -> what came of it."""
    folder.mkdir()
    (folder / "params.yaml").write_text(json.dumps(small_values()), encoding="utf-8")
    for number, content in enumerate(files.values()):
        (folder / str(number)).mkdir()
        (folder / str(number) / "model.pth").write_bytes(content)
        (folder / str(number) / "snapshot-0000000001.pt").write_bytes(snapshot_bytes(content))
    result = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("load_each.py"))],
        cwd=folder,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "HOME": str(folder), "OMP_NUM_THREADS": "1"},
        input="\0".join(str(number) for number in range(len(files))),
        capture_output=True,
        text=True,
        timeout=250,
        check=False,
    )
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    names = list(files)
    assert result.returncode == 0, (
        result.returncode,
        names[int(lines[-1]["name"])] if lines else "",
        result.stderr[-500:],
    )
    return {names[int(line["name"])]: line for line in lines if "status" in line}


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, dict[str, Any]], dict[str, str], Path]:
    """What came of each file, what was expected, and the canary."""
    folder = tmp_path_factory.mktemp("malicious")
    canary = folder / "canary"
    files = collection(folder, canary)
    good = model_bytes(folder)
    others = {
        "good": good,
        "good from another folder": zipped({n.replace("archive/", "model/"): v for n, v in entries_of(good).items()}),
        "good behind something else": b"GIF89a" + good,
    }
    readings = read(folder / "files", {**{name: content for name, (content, _) in files.items()}, **others})
    return readings, {name: expected for name, (_, expected) in files.items()}, canary


def test_the_good_ones_are_taken(results: Any) -> None:
    """So the others are refused for what is wrong with them."""
    for name in GOOD:
        assert results[0][name]["status"] == 0, results[0][name]
        assert results[0][name]["snapshot"] == "<class 'dict'>"


def test_each_is_refused_in_one_line_with_status_2(results: Any) -> None:
    readings, expected, _ = results
    assert len(expected) > 150
    wrong = {}
    for name, fragment in expected.items():
        result = readings[name]
        lines = result["stderr"].splitlines()
        good = (
            result["status"] == 2
            and len(lines) == 1
            and lines[0].startswith("error: ")
            and "/model.pth: " in lines[0]
            and fragment in lines[0]
            and len(lines[0]) < 400
            and not result["stdout"]
        )
        if not good:
            wrong[name] = (result["status"], result["stderr"][-300:])
    assert not wrong


def test_as_a_snapshot_none_is_an_error(results: Any) -> None:
    """An archive that is not plain is passed over; what is plain has to fit the training, which `fits` looks at."""
    readings, expected, _ = results
    for name in expected:
        plain = name.startswith(("content: ", "pickle: dicts", "pickle: a memo of four"))
        assert readings[name]["snapshot"] in ("<class 'NoneType'>", "<class 'dict'>" if plain else ""), name


def test_nothing_ran(results: Any) -> None:
    assert not results[2].exists()


def test_memory_and_time_are_bounded(results: Any) -> None:
    readings, _, _ = results
    assert max(result["peak"] for result in readings.values()) < PEAK_MB
    slow = {name: result["seconds"] for name, result in readings.items() if result["seconds"] > SECONDS}
    assert not slow

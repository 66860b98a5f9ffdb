"""What `gptmodel verify` proposes for the workspace works: each mend is carried out, and the proof stands again."""

import re
import shlex
import shutil
from pathlib import Path

from committed_project import commit, good, gptmodel, rows, set_params


def mend_of(project: Path, path: str, *, stages: tuple[str, ...] = ("prepare",)) -> str:
    """Return what verify says of a file in the workspace, behind what is wrong with it."""
    result = gptmodel(project, "verify", *(word for stage in stages for word in ("--stage", stage)))
    assert result.returncode == 2
    match = re.search(rf"^workspace +{re.escape(path)} +differs +(.*)$", result.stdout, re.MULTILINE)
    assert match is not None, result.stdout
    return match[1]


def carry_out(project: Path, mend: str) -> None:
    """Run the command that a mend quotes; of a whole `dvc repro`, what concerns data."""
    words = shlex.split(re.findall("`(.*?)`", mend)[-1])
    good(project, *words, *(["prepare"] if words == ["dvc", "repro"] else []))


def proven(project: Path, *stages: str) -> bool:
    result = gptmodel(project, "verify", *(word for stage in stages for word in ("--stage", stage)))
    return result.returncode == 0 and "workspace" not in {stage for stage, _ in rows(result)}


def test_what_was_changed_by_hand_comes_back(project: Path) -> None:
    metrics, prepared = project / "metrics" / "train.json", project / "data" / "prepared"
    metrics.write_text("{}")
    good(project, "git", "add", "metrics/train.json")  # staged or not
    mend = mend_of(project, "metrics/train.json", stages=("train",))
    assert ": commit it if `dvc repro` wrote it; `git checkout HEAD -- metrics/train.json` brings that one" in mend
    carry_out(project, mend)
    assert metrics.read_text() != "{}"
    for command in ("dvc checkout --force data/prepared", "dvc repro prepare"):
        (prepared / "train.bin").unlink()
        (prepared / "train.bin").write_bytes(b"x")
        mend = mend_of(project, "data/prepared")
        assert f"`{command}`" in mend
        carry_out(project, mend)
        shutil.rmtree(project / ".dvc" / "cache")  # next time, DVC has nothing to bring it back from
    assert proven(project, "prepare")


def test_another_text_becomes_the_one_that_is_proven_or_makes_way(project: Path, tmp_path: Path) -> None:
    text, mine = project / "data" / "input.txt", tmp_path / "my text.txt"
    fetched = text.read_text()
    text.unlink()
    text.write_text("my own text, longer than a block\n" * 20)
    mend = mend_of(project, "data/input.txt", stages=("fetch",))
    assert "set fetch.source to own or move the file away, then run `dvc repro`" in mend
    text.rename(mine)
    carry_out(project, mend)
    assert text.read_text() == fetched
    for source, changed, out in (("own", text, "data/input.txt"), ("../my text.txt", mine, "data/fetch.source")):
        if source != "own":
            shutil.copyfile(text, mine)
            text.unlink()
        set_params(project, f"source={source}")
        good(project, "dvc", "repro", "--quiet", "prepare")
        commit(project)
        changed.write_text(changed.read_text() + "and more\n")
        mend = mend_of(project, out, stages=("fetch",))
        assert mend.endswith(": run `dvc repro` and commit what it changes")
        carry_out(project, mend)
        commit(project)
        assert proven(project, "fetch", "prepare")

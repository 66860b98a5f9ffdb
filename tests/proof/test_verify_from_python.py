"""A proof from Python: without the command line, which is not even imported, and event by event where one wants it."""

import json
import re
import sys
from pathlib import Path

from committed_project import call, change_metric, commit, good
from model_helpers import ROOT

NOTHING_OF_THE_COMMAND_LINE = (
    "import sys; assert not {'stages', 'typer', 'rich'} & {name.partition('.')[0] for name in sys.modules}"
)
VERIFY = f"""
import json
from pathlib import Path
from gptmodel.proof.verification import verify

proof = verify(Path("project"), stages=["prepare"])
print(json.dumps({{
    "verdict": [proof.proven, proof.excused],
    "rows": [[row.stage, row.path, row.status] for row in proof.rows],
    "faults": [[row.stage, row.path, row.status] for row in proof.faults],
}}))
{NOTHING_OF_THE_COMMAND_LINE}
"""
FOLLOW = f"""
from pathlib import Path
from gptmodel.project.git import Revision, worktree
from gptmodel.proof.result import Proof, Rebuilding
from gptmodel.proof.verification import rebuild_and_compare

revision = Revision.find(Path("project").resolve(), "HEAD")
events = []
with worktree(revision) as tree:
    for event in rebuild_and_compare(revision, tree, ["fetch", "prepare"]):
        events.append(event)
        if isinstance(event, Rebuilding):
            print(event.stage, len(events), (tree / "data" / "prepared").exists())
print(Proof.of(revision, events).proven)
{NOTHING_OF_THE_COMMAND_LINE}
"""


def python(project: Path, code: str) -> str:
    """Run code beside the project, with the library of the project."""
    return good(project.parent, sys.executable, "-c", f"import sys; sys.path.insert(0, 'project')\n{code}")


def test_verify_returns_the_proof_without_the_command_line(project: Path) -> None:
    proof = json.loads(python(project, VERIFY))
    assert proof["verdict"] == [True, False]
    assert proof["rows"][0] == ["prepare", "code, data, settings", "same"]
    assert {tuple(row) for row in proof["rows"][1:]} == {
        ("prepare", "data/prepared", "same"),
        ("prepare", "metrics/prepare.json", "same"),
    }
    assert proof["faults"] == []
    assert len(good(project, "git", "worktree", "list").splitlines()) == 1


def test_a_fault_is_a_row_and_no_exception(project: Path) -> None:
    change_metric(project, "metrics/prepare.json", ["characters"], 2)
    commit(project)
    proof = json.loads(python(project, VERIFY))
    assert proof["verdict"] == [False, False]
    places = ("prepare", "workspace")  # it is no longer in the commit, so both have it
    assert proof["faults"] == [[place, "metrics/prepare.json", "differs"] for place in places]


def test_who_iterates_hears_of_a_rebuild_before_it_is_done(project: Path) -> None:
    """Before each: the row of its inputs, and behind fetch those of its outs."""
    lines = python(project, FOLLOW).splitlines()
    assert lines == ["fetch 2 False", "prepare 9 False", "True"]


def test_a_wrong_revision_is_an_error_to_catch(project: Path) -> None:
    code = "from pathlib import Path; from gptmodel.proof.verification import verify; verify(Path('.'), 'nowhere')"
    result = call(project, sys.executable, "-c", code)
    assert result.stderr.splitlines()[-1].startswith("gptmodel.errors.GptModelError: nowhere: not a revision")


def test_the_lines_of_the_readme_run_in_the_projects_folder(project: Path) -> None:
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    (code,) = (block for block in blocks if "verification" in block)
    problems, proof, loss = good(project, sys.executable, "-c", code).splitlines()
    assert problems.startswith("[")
    assert proof == "True []"
    evaluated = json.loads((project / "metrics" / "evaluate.json").read_text(encoding="utf-8"))
    assert float(loss) == evaluated["val"]["loss"]

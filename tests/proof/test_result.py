"""What a proof makes of rows and explanations."""

from pathlib import Path

import pytest

from gptmodel.project.git import Revision
from gptmodel.proof.result import Explanation, Proof, Rebuilding, Row

REVISION = Revision(root=Path(), name="HEAD", commit="0" * 40, is_head=True)


@pytest.mark.parametrize(
    ("statuses", "proven", "excused", "faults"),
    [
        (["same", "same, but for the time it took", "volatile"], True, False, []),
        (["same", "within tolerance"], False, True, []),
        (["other platform", "volatile"], False, True, []),
        (["same", "differs"], False, False, ["differs"]),
        (["other platform", "missing", "within tolerance", "failed"], False, False, ["missing", "failed"]),
    ],
)
def test_it_is_proven_excused_or_neither(statuses: list[str], proven: bool, excused: bool, faults: list[str]) -> None:
    proof = Proof.of(REVISION, [Row("train", "a", status, "") for status in statuses])
    assert (proof.proven, proof.excused, [row.status for row in proof.faults]) == (proven, excused, faults)


def test_it_collects_what_was_compared_and_explained() -> None:
    row = Row("train", "a", "other platform", "")
    explanations = [Explanation("trained elsewhere", "torch 1 there, 2 here"), Explanation("and so on")]
    proof = Proof.of(REVISION, iter([Rebuilding("train"), row, *explanations]))
    assert proof.rows == (row,)
    assert proof.explanations == ("trained elsewhere", "and so on")
    assert proof.other_platform == "torch 1 there, 2 here"
    assert Proof.of(REVISION, [row]).other_platform == ""

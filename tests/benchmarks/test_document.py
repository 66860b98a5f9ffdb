"""docs/BENCHMARKS.md is what the committed results say."""

import json
from pathlib import Path

from benchmark_examples import EXAMPLES, file_of
from PIL import Image

from benchmarks.contestants.peers import PEERS
from benchmarks.figures.document import document, draw, shown
from benchmarks.figures.plots import digest
from benchmarks.figures.results import read_results
from benchmarks.figures.sections import SECTIONS
from benchmarks.paths import DOCS, RESULTS


def written(folder: Path, name: str, file: str = "", **changes: object) -> None:
    (folder / f"{file or name}.json").write_text(json.dumps({**file_of(name), **changes}))


def test_the_document_and_its_plots_are_those_of_the_committed_results() -> None:
    mend = "run `python -m benchmarks.document` and commit what it writes"
    assert (DOCS / "BENCHMARKS.md").read_text(encoding="utf-8") == document(RESULTS), mend
    for section in SECTIONS:
        if section.draw is not None and (files := read_results(section.name, RESULTS)):
            with Image.open(DOCS / section.plot) as image:
                assert image.info["Description"] == digest(shown(section, files)[0]), mend
            assert (DOCS / section.plot).stat().st_size < 150_000


def test_every_file_of_results_is_in_the_document() -> None:
    names = {json.loads(path.read_bytes())["benchmark"] for path in RESULTS.glob("*.json")}
    assert names <= {section.name for section in SECTIONS}


def test_a_section_for_each_benchmark_that_has_results(tmp_path: Path) -> None:
    assert document(tmp_path).count("\n## ") == 0
    for number, name in enumerate(EXAMPLES, 1):
        written(tmp_path, name)
        assert document(tmp_path).count("\n## ") == number
    text = document(tmp_path)
    assert text.count("Measured by `python -m benchmarks.") == len(EXAMPLES)
    assert text.count("\nMachine: ") == 1


def test_two_machines_are_told_apart(tmp_path: Path) -> None:
    installed = file_of("train")["machine"]
    machine = {key: value for key, value in installed.items() if key not in PEERS.values()}
    written(tmp_path, "train", machine=machine)
    written(tmp_path, "plan", machine={**machine, "transformers": "1.2.3"})  # the same, with a peer
    written(tmp_path, "resume", machine={**machine, "cpu": "another"})
    text = document(tmp_path)
    assert "\nPeers: transformers 1.2.3" in text
    assert "of another" in text.split("Machine 2: ")[1].splitlines()[0]
    assert [text.count(f", machine {number}.") for number in (1, 2, 3)] == [2, 1, 0]


def test_each_table_of_a_section_comes_after_the_machine_that_it_was_measured_on(tmp_path: Path) -> None:
    machine = file_of("train")["machine"]
    written(tmp_path, "train")
    written(tmp_path, "train", "train-other", machine={**machine, "instructions": "fewer"})
    lines = [line for line in document(tmp_path).splitlines() if line.startswith(("Measured by", "| plain loop"))]
    assert [line.rpartition(", ")[2] for line in lines[::2]] == ["machine 1.", "machine 2."]
    assert [line.split()[1] for line in lines[1::2]] == ["plain", "plain"]


def test_losses_of_several_files_are_one_table(tmp_path: Path) -> None:
    written(tmp_path, "loss", "loss-a")
    written(tmp_path, "loss", "loss-b")
    (row,) = [line for line in document(tmp_path).splitlines() if line.startswith("| laptop")]
    assert row.split(" | ")[3] == "2"


def test_the_plots_are_drawn_and_small(tmp_path: Path) -> None:
    for name in ("loss", "scaling"):
        written(tmp_path, name)
    draw(tmp_path, tmp_path)
    for name, file in (("loss", "loss_over_time.png"), ("scaling", "scaling.png")):
        with Image.open(tmp_path / file) as image:
            assert image.info["Description"] == digest(EXAMPLES[name])
        assert (tmp_path / file).stat().st_size < 150_000

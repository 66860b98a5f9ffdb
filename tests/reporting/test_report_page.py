"""The report: what it shows, that it runs nothing, and that the same findings give the same bytes."""

import dataclasses
import re
from pathlib import Path
from typing import Any

import pytest
from model_helpers import language_model, small_model
from report_findings import SPLIT, findings

from gptmodel.checkpoint.model_file import save_model
from gptmodel.errors import DataError
from gptmodel.evaluation.history import history_csv
from gptmodel.files import write_json
from gptmodel.language_model import LanguageModel
from gptmodel.presets import PRESETS
from gptmodel.project.layout import Layout
from gptmodel.reporting.findings import read_findings
from gptmodel.reporting.report import MOST_CHARACTERS, MOST_SAMPLES, report


def test_all_that_was_found_out_is_shown() -> None:
    page = report(findings())
    for words in (
        "<strong>Healthy</strong>:",
        "would give 2.5074",
        "Flat: ",
        "2.6416",
        "1.8310",
        "The hardest passages",
        "cpu_capability",
        "0" * 64,
        "42.0 %",
    ):
        assert words in page
    assert "The longest passage copied is 15 characters." in page
    assert '<i class="c1">once upon</i>' in page
    assert page.count("<polyline") == 4
    rows = re.findall(r"<td>([^<]+)</td><td class=\"number\">([\d.]+)</td>\n<td class=\"bar\">", page)
    assert rows == [("uniform", "6.285"), ("unigram", "4.807"), ("this model", "2.642"), ("xz", "2.415")]


def test_a_text_is_never_markup_and_nothing_comes_from_elsewhere() -> None:
    page = report(findings())
    assert page.count("&lt;script&gt;alert(1)&lt;/script&gt;") == 4
    assert "<script" not in page
    assert "<img" not in page
    assert not re.search(r"https?:|url\(|@import|\bsrc=(?!x)", page)
    assert "default-src 'none'" in page


def test_a_carriage_return_is_no_line_of_its_own() -> None:
    passages = {"hardest": [{"tokens": ["a", "\r", "\n"], "nats": [0.1, 6.0, 0.1]}], "easiest": []}
    page = report(findings(passages=passages))
    assert '<i class="n4">&#13;</i>' in page
    assert "\r" not in page


def test_the_same_findings_give_the_same_bytes_whatever_time_they_took() -> None:
    slower = [dataclasses.replace(row, seconds=99.0) for row in findings().history]
    assert report(findings()) == report(findings(history=slower))


def test_what_train_has_of_the_val_split_stands_below_the_verdict() -> None:
    assert "<br>9.0% of the val split stands word for word in the train split." in report(findings())


def test_what_is_not_there_is_left_out() -> None:
    page = report(findings(baselines={}, positions=None, passages=None, history=[], repeated=[]))
    for words in (
        "simpler methods",
        "word for word in the train split",
        "passages</h2>",
        "<polyline",
        "Loss during training",
    ):
        assert words not in page
    assert "Samples" in page


def test_the_page_stays_small_whatever_is_sampled_and_evaluated() -> None:
    text = {"text": "a<" * MOST_CHARACTERS, "copied": [[place, place + 9] for place in range(0, 2000, 12)]}
    passage = {"tokens": ["a", "<"] * 128, "nats": [0.0, 9.0] * 128}
    memorisation = findings().memorisation | {"texts": [text] * 40}  # type: ignore[operator]
    passages = {"hardest": [passage] * 10, "easiest": [passage] * 10}
    first = findings().history[0]
    rows = [dataclasses.replace(first, iteration=step) for step in range(5000)]
    page = report(findings(memorisation=memorisation, passages=passages, history=rows))
    assert len(page.encode()) < 500_000
    assert f"{40 - MOST_SAMPLES} more in samples/samples.txt" in page


def test_settings_that_differ_and_a_preset() -> None:
    assert "<code>model.n_embd</code></td><td>64</td><td>8</td>" in report(findings())
    values = PRESETS["nanogpt"].values()
    trained = language_model(small_model(**values["model"]))
    provenance = {"train": values["train"] | {"seed": 5}}
    page = report(findings(model=LanguageModel(trained.transformer, trained.tokenizer, None, provenance)))
    assert "those of the preset <code>nanogpt</code>" in page
    assert "preset <code>" not in report(findings())


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"memorisation": {}}, "metrics/memorisation.json: not as sample writes it"),
        ({"memorisation": {"texts": [{}]}}, "metrics/memorisation.json: not as sample writes it"),
        ({"evaluation": {}}, "metrics/evaluate.json: not as evaluate writes it"),
        ({"evaluation": {"val": {"bits_per_byte": "x"}}}, "metrics/evaluate.json: not as evaluate writes it"),
        ({"evaluation": {"val": SPLIT, "verdict": []}}, "metrics/evaluate.json: not as evaluate writes it"),
        ({"passages": {"hardest": [{}]}}, "evaluation/passages.json: not as evaluate writes it"),
        (
            {"passages": {"hardest": [{"tokens": [], "nats": []}]}},
            "evaluation/passages.json: not as evaluate writes it",
        ),
        ({"evaluation": findings().evaluation | {"val": SPLIT | {"tokens": "x"}}}, "report.html: what it shows is"),  # type: ignore[operator]
    ],
)
def test_a_value_that_is_not_there_or_of_another_kind_is_a_line_with_its_file(changes: Any, line: str) -> None:
    with pytest.raises(DataError) as caught:
        report(findings(**changes))
    assert str(caught.value).startswith(line)
    assert "; run `dvc repro" in str(caught.value)


@pytest.mark.parametrize(
    ("file", "content", "line"),
    [
        ("metrics/evaluate.json", "{}", "has no val; run `dvc repro evaluate` again"),
        ("metrics/memorisation.json", "{}", "has no sentence; run `dvc repro sample` again"),
        ("metrics/loss_by_position.csv", "position,train,val\n1,2.0,nan\n", "not as evaluate writes it"),
        ("metrics/loss_by_position.csv", "position,train,val\n", "not as evaluate writes it"),
        ("metrics/loss_by_position.csv", "position,val\n1,2.0\n", "not as evaluate writes it"),
    ],
)
def test_a_file_without_what_its_stage_writes_is_a_line(file: str, content: str, line: str, tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    save_model(layout.model, language_model(small_model()), {})
    write_json(layout.metrics("evaluate"), dict(findings().evaluation))
    write_json(layout.metrics("memorisation"), dict(findings().memorisation))
    layout.history.write_text(history_csv(findings().history), encoding="utf-8")
    assert read_findings(layout).positions is None
    (tmp_path / file).write_text(content, encoding="utf-8")
    with pytest.raises(DataError) as caught:
        read_findings(layout)
    assert str(caught.value).startswith(f"{tmp_path / file}: {line}")


def test_a_file_that_lacks_something_is_a_line() -> None:
    with pytest.raises(DataError, match=r"report\.html: what it shows is not complete"):
        report(findings(evaluation={"val": SPLIT}))

"""tune.yaml as its user writes it; what is wrong with one stands in tests/test_bad_input.py."""

from pathlib import Path

import pytest
from model_helpers import ROOT
from tuning_helpers import search_in, study_in

from gptmodel.errors import ConfigError
from gptmodel.params_file import default_values
from gptmodel.tuning.search import EXAMPLE, as_options, read_search
from gptmodel.tuning.worker import Worker

PAGE = (ROOT / "docs" / "TUNING.md").read_text(encoding="utf-8")


def test_the_example_is_a_search_and_stands_in_the_page(tmp_path: Path) -> None:
    (tmp_path / "tune.yaml").write_text(EXAMPLE, encoding="utf-8")
    search = read_search(tmp_path / "tune.yaml")
    assert EXAMPLE.partition("\n")[2] in PAGE  # but for its head line
    params = search.params(default_values(), {"train.learning_rate": 0.003, "model.dropout": 0.15}, "here")
    assert (params.train.learning_rate, params.model.dropout, params.train.batch_size) == (0.003, 0.15, 16)
    assert default_values()["model"]["dropout"] == 0.0


def test_every_kind_of_choice_and_of_range(tmp_path: Path) -> None:
    space = {
        "model.ngram_orders": [[], [2, 3]],
        "train.ngram_lr": [None, 0.01],
        "model.qk_norm": [True, False],
        "model.norm": ["pre", "post"],
        "model.n_layer": {"low": 1, "high": 40, "log": True},
        "train.batch_size": {"low": 4, "high": 12, "step": 4},
        "train.learning_rate": {"low": 1.0e-4, "high": 1.0e-2, "log": True},
        "model.dropout": {"low": 0, "high": 0.3, "step": 0.1},
    }
    study, seen = study_in(tmp_path, trials=12, space=space), []
    with Worker(tmp_path / "runs", "tiny") as worker:
        while (trial := study.draw(worker)) is not None:
            seen.append(trial.values)
    for values in seen:
        params = study.search.params(default_values(), values, "here")
        assert list(values) == list(space)
        assert values["train.batch_size"] in (4, 8, 12)
        assert values["model.dropout"] in (0.0, 0.1, 0.2, 0.3)
        assert float(f"{values['train.learning_rate']:.4g}") == values["train.learning_rate"]
        assert params.model.n_layer == values["model.n_layer"]
    assert len({values["model.norm"] for values in seen}) == 2
    assert {tuple(values["model.ngram_orders"]) for values in seen} == {(), (2, 3)}
    words = as_options(seen[0]).split()
    assert words[::2] == ["-S"] * len(space)
    assert {"model.ngram_orders=[]", "model.ngram_orders=[2,3]"} & {*words}
    assert [row.values for row in study.rows()] == seen


def test_settings_that_do_not_fit_together_are_an_error_of_the_trial_alone(tmp_path: Path) -> None:
    search = search_in(tmp_path, space={"model.n_head": [3, 4], "train.optimizer": ["muon", "sgd"]})
    with pytest.raises(ConfigError, match=r"^here: model.n_head = 3: does not divide model.n_embd = 64; train.muon_lr"):
        search.params(default_values(), {"model.n_head": 3, "train.optimizer": "muon"}, "here")

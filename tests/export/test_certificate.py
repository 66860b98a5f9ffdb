"""What a certificate lets through: rounding, and nothing that a mistake makes of a logit or of a probability."""

from pathlib import Path

import pytest
import torch
from export_helpers import small_language_model
from model_helpers import generator
from torch import Tensor

from gptmodel.export.bundle import certified
from gptmodel.export.certificate import TEXTS, Certificate
from gptmodel.export.form import Compared, Form
from gptmodel.language_model import LanguageModel

OWN = torch.randn(2, 4, 11, generator=generator(0)).clamp(-3, 3)


def within(exported: Tensor, own: Tensor = OWN, compared: Compared = "logits") -> bool:
    return Certificate.of(compared, own, exported, 0, 1).within(1e-4)


def one_changed(logits: Tensor, change: float) -> Tensor:
    return logits + torch.zeros_like(logits).index_fill(2, torch.tensor([3]), change)


def test_all_logits_shifted_by_a_number_are_others() -> None:
    assert within(OWN)
    assert not within(OWN + 1e-3)
    assert within(OWN + 1e-3, compared="log-probabilities")


def test_a_logit_may_differ_by_a_share_of_the_largest() -> None:
    """As float32 has seven digits, whatever is in front of them."""
    assert within(OWN - 100 + 5e-3, OWN - 100)
    assert not within(OWN - 100 + 2e-2, OWN - 100)
    assert within(0.01 * OWN + 5e-5, 0.01 * OWN)


@pytest.mark.parametrize("common", [0.0, -100.0])
def test_no_probability_may_be_another_however_large_the_logits_are(common: float) -> None:
    own = OWN.double() + common
    assert within(one_changed(own, 5e-5), own)
    for compared in ("logits", "log-probabilities"):
        assert not within(one_changed(own, 5e-4), own, compared)


def test_the_model_reads_one_text_at_a_time_and_keeps_nothing_for_gradients(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, predict, seen = small_language_model(), LanguageModel.predict, []

    def watched(model: LanguageModel, idx: Tensor) -> Tensor:
        seen.append((len(idx), torch.is_inference_mode_enabled()))
        return predict(model, idx)

    form = Form((), "", lambda *_: "", lambda _, idx: (predict(model, idx).detach(), 0))
    monkeypatch.setattr(LanguageModel, "predict", watched)
    certificate = certified(model, form, tmp_path)
    assert seen == [(1, True)] * TEXTS
    assert certificate.largest_difference < 1e-5
    assert certificate.greedy_tokens_same == certificate.greedy_tokens > TEXTS


def test_what_is_no_number_is_no_certificate() -> None:
    assert not within(OWN * torch.nan)
    assert not within(one_changed(OWN, -torch.inf))

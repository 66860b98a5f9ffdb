"""What is compared: the loops that train without other libraries, and the operations that all are held to."""

import pytest
import torch
from benchmark_examples import TINY
from model_helpers import ROOT, batch, generator, scramble

from benchmarks.contestants import lecture
from benchmarks.contestants.loops import CONTESTANTS
from benchmarks.contestants.models import our_params
from benchmarks.contestants.peak import iteration_operations
from benchmarks.contestants.peers import PEERS
from benchmarks.contestants.sizes import VOCAB
from gptmodel.nn.transformer import build_model
from gptmodel.params_file import load_params

HERE = [name for name in CONTESTANTS if name not in PEERS and "compiled" not in name]


@pytest.mark.parametrize("name", HERE)
def test_a_contestant_trains(name: str) -> None:
    train = CONTESTANTS[name](TINY, 1)
    train(1)
    train(2)


def test_ours_computes_with_the_sizes_and_settings_of_the_peers() -> None:
    params = our_params(TINY, parts=1, dtype="bfloat16", compile=True)
    assert (params.model.n_layer, params.model.block_size, params.train.batch_size) == (1, 8, 2)
    assert (params.train.optimizer, params.model.position) == ("adamw", "learned")
    assert (params.train.parts, params.train.dtype, params.train.compile) == (1, "bfloat16", True)


def test_the_lectures_script_has_the_settings_of_the_default_run() -> None:
    params = load_params(ROOT / "params.yaml")
    settings = {**params.model.model_dump(), **params.train.model_dump(), **params.sample.model_dump()}
    own = {name: value for name, value in vars(lecture).items() if type(value) in (int, float)}
    assert len(own) == 13
    assert own == {name: settings[name] for name in own}
    assert (params.train.optimizer, params.train.lr_schedule) == ("adamw", "constant")


def test_the_lectures_model_is_that_of_the_default_run() -> None:
    """The same logits with the same weights."""
    params = load_params(ROOT / "params.yaml").model
    ours, theirs = build_model(params, VOCAB, generator(1), fused=False), lecture.TransformerModel(VOCAB)
    missing, unexpected = theirs.load_state_dict(scramble(ours).state_dict(), strict=False)
    assert not unexpected
    assert all(name.endswith(".tril") for name in missing)
    idx = batch(2, params.block_size, vocab_size=VOCAB)
    torch.testing.assert_close(theirs(idx), ours(idx), rtol=0, atol=1e-3)


def test_the_lectures_script_learns_and_continues(capsys: pytest.CaptureFixture[str]) -> None:
    data = torch.arange(400) % 7
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        model = lecture.TransformerModel(7)
        losses = lecture.train(model, {"train": data, "val": data}, 30, 2)
        text = model.generate(torch.tensor([[3]]), 40)[0].tolist()
    assert capsys.readouterr().out.startswith("step 0: train loss 2.")
    assert losses["val"] < 0.5
    assert text == [(3 + n) % 7 for n in range(41)]


def test_operations_are_those_of_the_products() -> None:
    """Against a count of each product of the reference: rows x columns x inner, twice, and twice more backward."""
    C, T, B = TINY.n_embd, TINY.block_size, TINY.batch_size
    block = B * T * (3 * C * C + C * C + 4 * C * C + 4 * C * C) + 2 * B * T * T * C
    assert iteration_operations(TINY) == 3 * 2 * (TINY.n_layer * block + B * T * C * 65)

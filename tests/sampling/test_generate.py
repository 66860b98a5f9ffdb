"""Drawing tokens: what the model sees, where the random numbers come from, and what is shown meanwhile."""

from typing import Any

import pytest
import torch
from model_helpers import VOCAB, batch, generator, language_model, sample_params, scramble, small_model
from torch import Tensor

from gptmodel.compute.random import Stream, torch_generator
from gptmodel.config import SampleParams
from gptmodel.errors import CheckpointError, DataError
from gptmodel.nn.transformer import TransformerModel
from gptmodel.sampling.generate import default_prompt, generate, sample_pieces
from gptmodel.sampling.incremental import IncrementalModel
from gptmodel.sampling.kv_cache import KVCache
from gptmodel.sampling.logits import next_probabilities
from gptmodel.scoring import score_tokens
from gptmodel.tokenizers.base import Tokenizer
from gptmodel.tokenizers.byte import ByteTokenizer
from gptmodel.tokenizers.char import CharTokenizer

MODEL = language_model(scramble(small_model()))
LETTERS = CharTokenizer("abcdefghij ")


def continued(idx: Tensor, seed: int = 1, **changes: Any) -> list[list[int]]:
    """The new ids of each row."""
    steps = [step.ids for step in generate(IncrementalModel(MODEL), idx, sample_params(**changes), generator(seed))]
    return torch.stack(steps, dim=1).tolist()


def test_as_many_tokens_as_asked_for_each_row() -> None:
    tokens = continued(batch(3, 4), max_new_tokens=5)
    assert [len(row) for row in tokens] == [5, 5, 5]
    assert {type(token) for row in tokens for token in row} == {int}
    assert 0 <= min(map(min, tokens)) <= max(map(max, tokens)) < VOCAB


def test_one_seed_gives_one_continuation() -> None:
    idx = batch(2, 4)
    assert continued(idx, 1, max_new_tokens=30) == continued(idx, 1, max_new_tokens=30)
    assert continued(idx, 1, max_new_tokens=30) != continued(idx, 2, max_new_tokens=30)
    rows = continued(batch(1, 4).expand(2, 4), max_new_tokens=30)
    assert rows[0] != rows[1]


@pytest.mark.parametrize("T", [1, 7, 8, 9, 30])
def test_the_likeliest_tokens_are_those_of_a_plain_loop(T: int) -> None:
    ids = batch(1, T)[0].tolist()
    tokens = continued(torch.tensor([ids]), temperature=0.0, max_new_tokens=20, past_block="crop")[0]
    for _ in range(20):
        scores = MODEL.predict(torch.tensor([ids[-8:]]))[0, -1]
        ids.append(int(scores.argmax()))
    assert tokens == ids[T:]


def test_draws_are_those_of_a_plain_loop() -> None:
    ids, source = batch(2, 3), generator(5)
    tokens = continued(ids, 5, temperature=0.7, top_k=4, max_new_tokens=15, past_block="crop")
    for _ in range(15):
        scores = MODEL.predict(ids[:, -8:])[:, -1] / 0.7
        least = scores.sort(dim=1, descending=True).values[:, 3:4]
        chances = scores.masked_fill(scores < least, float("-inf")).softmax(dim=1)
        ids = torch.cat((ids, torch.multinomial(chances, 1, generator=source)), dim=1)
    assert tokens == ids[:, 3:].tolist()


def test_of_a_long_prompt_the_last_block_counts_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    long, short = batch(2, 20), batch(2, 20)[:, -8:]
    assert continued(long) == continued(short)
    other = long.clone()
    other[:, :12] = 0
    assert continued(other) == continued(long)
    contexts: list[Tensor] = []
    next_logits = IncrementalModel.next_logits

    def spied(self: IncrementalModel, idx: Tensor, cache: KVCache) -> Tensor:
        assert cache.length == 0  # past block_size no key and no value is used again
        contexts.append(idx)
        return next_logits(self, idx, cache)

    monkeypatch.setattr(IncrementalModel, "next_logits", spied)
    new_ids = torch.tensor(continued(long, max_new_tokens=10, past_block="crop"))
    all_ids = torch.cat((long, new_ids), dim=1)
    assert len(contexts) == 10
    assert all(torch.equal(idx, all_ids[:, 12 + step : 20 + step]) for step, idx in enumerate(contexts))


SWITCHES: list[dict[str, Any]] = [
    {},
    {"norm": "pre", "activation": "gelu", "scale_embedding": False},
    {"norm": "pre", "norm_type": "rmsnorm", "position": "rotary", "qk_norm": True, "activation": "relu2"},
    {"position": "rotary", "ngram_orders": [2, 3], "logit_softcap": 8.0},
    {"position": "none", "ngram_orders": [5], "n_layer": 3},
    {"norm": "pre", "activation": "gelu_tanh", "qkv_bias": True, "tie_embeddings": True, "decoder_bias": False},
    {"block_size": 1},
    {"block_size": 5},
]
DRAWING: list[dict[str, Any]] = [
    {"temperature": 0.0},
    {"temperature": 1.0},
    {"temperature": 0.7, "top_k": 4},
    {"temperature": 1.3, "top_p": 0.9},
]


def lively(model: TransformerModel) -> TransformerModel:
    """Give it weights around zero and gains around one: a scrambled model repeats one token, whatever it reads."""
    scramble(model)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.sub_(0.1)
            if ".ln" in name and name.endswith("weight"):
                parameter.add_(1.0)
    return model


@pytest.mark.parametrize(("past_block", "fused"), [("crop", True), ("crop", False), ("shift", True)])
@pytest.mark.parametrize("T", [1, 8, 9, 20, *(pytest.param(T, marks=pytest.mark.slow) for T in (5, 7))])
@pytest.mark.parametrize("case", SWITCHES, ids=str)
def test_tokens_are_those_of_a_loop_without_a_cache(case: dict[str, Any], T: int, past_block: str, fused: bool) -> None:
    """Up to block_size and past it; the loop gives the whole model its whole context for each token."""
    model = lively(small_model(fused=fused, **case)).eval()
    block_size = model.params.block_size
    for number, drawing in enumerate(DRAWING):
        idx, source = batch(3, T, seed=number), generator(number)
        params = sample_params(max_new_tokens=20, past_block=past_block, **drawing)
        steps = generate(IncrementalModel(language_model(model)), idx, params, generator(number))
        tokens = torch.stack([step.ids for step in steps], dim=1)
        first = max(0, T - block_size)  # id of the context
        for _ in range(20):
            if idx.size(1) - first > block_size:
                first += 1 if past_block == "crop" else max(1, block_size // 2)
            logits = model(idx[:, first:])[:, -1].detach()
            following = logits.argmax(dim=1, keepdim=True)
            if params.temperature:
                chances = next_probabilities(
                    logits, temperature=params.temperature, top_k=params.top_k, top_p=params.top_p
                )
                following = torch.multinomial(chances, 1, generator=source)
            idx = torch.cat((idx, following), dim=1)
        assert torch.equal(tokens, idx[:, T:]), drawing
        assert params.temperature == 0.0 or len(set(tokens.flatten().tolist())) > 3


@pytest.mark.parametrize(("past_block", "lengths"), [("crop", [8] * 20), ("shift", [8, *([5, 1, 1, 1] * 5)][:20])])
def test_past_the_block_a_context_is_read_again_for_each_token_or_once_in_half_a_block(
    past_block: str, lengths: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[int] = []
    next_logits = IncrementalModel.next_logits

    def spied(self: IncrementalModel, idx: Tensor, cache: KVCache) -> Tensor:
        read.append(idx.size(1))
        return next_logits(self, idx, cache)

    monkeypatch.setattr(IncrementalModel, "next_logits", spied)
    continued(batch(2, 8), past_block=past_block, max_new_tokens=20)
    assert read == lengths


def test_up_to_block_size_both_ways_are_one() -> None:
    model, ways = language_model(lively(small_model())), []
    for past_block in ("crop", "shift"):
        params = sample_params(past_block=past_block, max_new_tokens=7)
        ways.append([step.logits for step in generate(IncrementalModel(model), batch(2, 3), params, generator(1))])
    equal = [torch.equal(*logits) for logits in zip(*ways, strict=True)]
    assert equal == [True] * 6 + [False]


def test_a_shifted_text_is_scored_in_the_contexts_in_which_it_was_drawn() -> None:
    model = language_model(lively(small_model()).eval())
    params = sample_params(past_block="shift", max_new_tokens=39)
    steps = list(generate(IncrementalModel(model), batch(1, 2), params, generator(1)))
    ids = [*batch(1, 2)[0].tolist(), *(int(step.ids) for step in steps)]
    scored = torch.cat([part.log_probabilities for part in score_tokens(model, ids)])  # (40, V)
    drawn = torch.log_softmax(torch.cat([step.logits for step in steps]), -1)  # (39, V)
    torch.testing.assert_close(drawn, scored[1:], rtol=0, atol=1e-5)


@pytest.mark.parametrize("drawing", DRAWING, ids=str)
def test_an_output_that_is_not_finite_is_an_error(drawing: dict[str, Any]) -> None:
    for value in (float("nan"), float("inf")):
        model = scramble(small_model())
        with torch.no_grad():
            model.decoder.bias[3] = value
        reader = IncrementalModel(language_model(model))
        with pytest.raises(CheckpointError, match="not finite"):
            next(generate(reader, batch(2, 4), sample_params(**drawing), generator(1)))


def test_the_prompt_is_left_as_it_was() -> None:
    for T in (3, 8, 20):
        idx = batch(2, T)
        continued(idx, max_new_tokens=12)
        assert torch.equal(idx, batch(2, T))


def test_random_numbers_come_from_the_generator_alone_and_dropout_is_off() -> None:
    model = scramble(small_model(dropout=0.5)).train()
    reader = IncrementalModel(language_model(model))
    before = torch.get_rng_state()
    runs = [
        [step.ids.tolist() for step in generate(reader, batch(2, 4), sample_params(), generator(1))] for _ in range(2)
    ]
    assert runs[0] == runs[1]
    assert torch.equal(torch.get_rng_state(), before)
    assert all(parameter.grad is None for parameter in model.parameters())


def texts(
    prompt: str | None = "abc", tokenizer: Tokenizer = LETTERS, pieces: list[str] | None = None, **changes: Any
) -> list[str]:
    """The whole samples; `pieces` gets those of the first."""
    model = language_model(scramble(small_model(vocab_size=tokenizer.vocab_size)), tokenizer=tokenizer)
    steps = []
    for step in sample_pieces(IncrementalModel(model), prompt, sample_params(**changes)):
        steps.append(step)
        if pieces is not None:
            pieces.append(step[0])
    return ["".join(of_one) for of_one in zip(*steps, strict=True)]


@pytest.mark.parametrize("tokenizer", [LETTERS, ByteTokenizer()], ids=lambda tokenizer: tokenizer.kind)
@pytest.mark.parametrize("num_samples", [1, 3])
@pytest.mark.parametrize("prompt", ["abc", "ab\udcc3"])
def test_the_pieces_of_a_sample_are_its_text(tokenizer: Tokenizer, num_samples: int, prompt: str) -> None:
    """Random bytes are seldom UTF-8, and a prompt may end within a character: the pieces are the whole text's."""
    if tokenizer is LETTERS and prompt != "abc":
        pytest.skip("half of a character has no id")
    pieces: list[str] = []
    samples = texts(prompt, tokenizer, pieces, num_samples=num_samples, max_new_tokens=60)
    model = language_model(scramble(small_model(vocab_size=tokenizer.vocab_size)), tokenizer=tokenizer)
    params = sample_params(num_samples=num_samples, max_new_tokens=60)
    ids = tokenizer.encode(prompt)
    random = torch_generator(params.seed, Stream.SAMPLING)
    drawn = generate(IncrementalModel(model), torch.tensor([ids] * num_samples), params, random)
    rows = torch.stack([step.ids for step in drawn], dim=1).tolist()
    assert samples == [tokenizer.decode(ids + row) for row in rows]
    assert "".join(pieces) == samples[0]
    assert len(pieces) > 20
    assert len(set(samples)) == num_samples


def test_samples_are_a_function_of_the_seed() -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        first = texts(max_new_tokens=40)
    assert texts(max_new_tokens=40) == first
    assert texts(max_new_tokens=40, seed=8) != first


def test_the_likeliest_samples_are_equal() -> None:
    one, other = texts(temperature=0.0)
    assert one == other
    assert len(one) == 3 + 12


def test_sampling_leaves_torchs_generator_alone() -> None:
    before = torch.get_rng_state()
    texts()
    assert torch.equal(torch.get_rng_state(), before)


def test_an_unknown_character_is_named_with_its_place() -> None:
    pieces: list[str] = []
    with pytest.raises(DataError) as raised:
        texts("abX?", pieces=pieces)
    assert "character 2" in str(raised.value)
    assert "'X'" in str(raised.value)
    assert "\n" not in str(raised.value)
    assert not pieces


def test_an_unknown_character_is_replaced_where_asked() -> None:
    pieces: list[str] = []
    samples = texts("abX?", pieces=pieces, on_unknown="replace")
    assert all(text.startswith("ab  ") for text in samples)
    assert pieces[0] == "ab  "
    assert samples == texts("ab  ")


def test_an_empty_prompt_is_an_error() -> None:
    with pytest.raises(DataError, match="prompt is empty"):
        texts("")


@pytest.mark.parametrize(
    ("tokenizer", "beginning"),
    [
        (CharTokenizer("ab\n\r"), "\n"),
        (CharTokenizer("\tone\rtwo\r"), "\r"),
        (CharTokenizer("no line end"), " "),
        (CharTokenizer("Жук"), "Ж"),
        (ByteTokenizer(), "\n"),
    ],
)
def test_without_a_prompt_a_sample_of_any_text_begins_with_a_line_end_or_a_character_it_has(
    tokenizer: Tokenizer, beginning: str
) -> None:
    default = SampleParams.defaults()["prompt"]
    assert default is None
    assert default_prompt(tokenizer) == beginning
    samples = texts(default, tokenizer)
    assert samples == texts(beginning, tokenizer)
    assert all(text.startswith(beginning) for text in samples)

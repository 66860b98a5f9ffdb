"""What a stream gives is what it gives alone, whoever else is served: for every switch of the model, in any order."""

import asyncio
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from model_helpers import language_model, sample_params, scramble, small_model
from serving_helpers import collected

from gptmodel.sampling.generate import sample_pieces
from gptmodel.serving.completions import Piece, Wanted, complete, token_names
from gptmodel.serving.engine import Engine
from gptmodel.serving.protocol import joined
from gptmodel.text_model import TextModel

SWITCHES: list[dict[str, Any]] = [
    {},
    {"norm": "pre", "activation": "gelu", "scale_embedding": False, "zero_init": True},
    {"norm": "pre", "norm_type": "rmsnorm", "position": "rotary", "qk_norm": True, "activation": "relu2"},
    {"position": "rotary", "ngram_orders": [2, 3], "ngram_dropout": 0.2, "logit_softcap": 8.0, "dropout": 0.3},
    {"position": "none", "ngram_orders": [5], "kneser_ney": 3, "kneser_ney_share": 0.3},
    {"block_size": 1},
]
MODELS = [TextModel(language_model(scramble(small_model(**case))), "small") for case in SWITCHES]


def request(seed: int, model: TextModel, **changes: Any) -> Wanted:
    """One of many different requests."""
    prompts = [model.tokenizer.encode("abcdefghijk"[seed % 7 : seed % 7 + 1 + seed % 5])]
    prompts += [[seed % 11] * (1 + seed % 20)] * (seed % 2)
    params = sample_params(
        seed=seed,
        max_new_tokens=1 + seed % 13,
        num_samples=1 + seed % 3,
        temperature=seed % 4 / 2,
        top_k=seed % 6,
        top_p=1.0 if seed % 2 else 0.8,
        past_block="shift" if seed % 3 else "crop",
        stop=["ab", "c"][: seed % 3],
        **changes,
    )
    logprobs = None if seed % 3 else seed % 5
    return Wanted(prompts, params, params.max_new_tokens, echo=bool(seed % 2), logprobs=logprobs)


def alone(model: TextModel, wanted: Wanted) -> list[Piece]:
    return joined([piece for turn in complete(model, token_names(model.tokenizer), wanted) for piece in turn])


@given(data=st.data())
@settings(max_examples=15)
def test_texts_and_numbers_are_those_of_a_request_alone_in_any_order_of_turns(data: st.DataObject) -> None:
    pairs = [
        (MODELS[data.draw(st.integers(0, len(MODELS) - 1))], seed)
        for seed in data.draw(st.lists(st.integers(0, 200), min_size=2, max_size=6))
    ]
    requests = [(model, request(seed, model)) for model, seed in pairs]
    works = [complete(model, token_names(model.tokenizer), wanted) for model, wanted in requests]
    pieces: list[list[Piece]] = [[] for _ in works]
    going = set(range(len(works)))
    while going:
        for number in data.draw(st.permutations(sorted(going))):
            if (turn := next(works[number], None)) is None:
                going.remove(number)
            else:
                pieces[number] += turn
    for (model, wanted), made in zip(requests, pieces, strict=True):
        assert joined(made) == alone(model, wanted)


@pytest.mark.parametrize("model", MODELS, ids=map(str, SWITCHES))
def test_sixteen_at_once_get_the_texts_of_the_sample_stage(model: TextModel) -> None:
    """Through the thread and the loop; what is asked and the log-probabilities beside it change no token."""
    names = token_names(model.tokenizer)
    requests = [request(seed, model) for seed in range(16)]

    async def all_at_once() -> list[list[list[Piece]]]:
        engine = Engine()
        jobs = [engine.submit(complete(model, names, wanted)) for wanted in requests]
        answers = await asyncio.gather(*(collected(job) for job in jobs))
        assert engine.jobs == 0
        engine.stop()
        return answers

    for wanted, turns in zip(requests, asyncio.run(all_at_once()), strict=True):
        choices = joined([piece for turn in turns for piece in turn])
        texts = []
        for ids in wanted.prompts:
            prompt = model.tokenizer.decode(ids)
            steps = sample_pieces(model.reader, prompt, wanted.params)
            texts += [text[0 if wanted.echo else len(prompt) :] for text in map("".join, zip(*steps, strict=True))]
        assert [choice.text for choice in choices] == texts
        assert {choice.finish_reason for choice in choices} <= {"stop", "length"}
        if wanted.logprobs is not None:
            assert ["".join(token.name for token in choice.tokens) for choice in choices] == texts
            assert all(
                text[token.offset :].startswith(token.name)
                for choice, text in zip(choices, texts, strict=True)
                for token in choice.tokens
            )

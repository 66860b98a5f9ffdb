"""Tokens a second of texts that are drawn together, from nanoGPT's model for an A100."""

import time

import torch

from benchmarks.command import progress
from benchmarks.contestants.sizes import Sizes
from benchmarks.figures.results import Results
from benchmarks.figures.tables import spread
from benchmarks.gpus.setting import finished, new_state, token_ids
from benchmarks.gpus.speed import params_for
from gptmodel.compute.place import Place
from gptmodel.compute.random import torch_generator
from gptmodel.sampling.generate import generate
from gptmodel.sampling.incremental import IncrementalModel


def sampling_rates(sizes: Sizes, device: str, streams: list[int], tokens: int, rounds: int) -> Results:
    """Draw `tokens` tokens of each text, from one token on."""
    params = params_for(sizes, device)
    place = Place.of(params, "sample")
    model = new_state(params, token_ids(5000), place, sizes.vocab).model
    results = {}
    for count in streams:
        rates = []
        for _ in range(rounds + 1):
            idx = torch.zeros(count, 1, dtype=torch.int64, device=place.device)
            sample = params.sample.model_copy(update={"max_new_tokens": tokens})
            finished(place.device)
            started = time.perf_counter()
            for _step in generate(IncrementalModel(model), idx, sample, torch_generator(1, 1, device=place.device)):
                pass
            finished(place.device)
            rates.append(count * tokens / (time.perf_counter() - started))
        results[str(count)] = spread(rates[1:])
        progress(f"{count} texts: {results[str(count)]['median']:,.0f} tokens a second")
    return results

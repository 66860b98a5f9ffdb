"""What continues texts: ours, the plain loop, HF transformers and litgpt, at nanoGPT's laptop sizes.

Shapes: B texts, T tokens, V vocab.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.contestants.loops import contestants
from benchmarks.contestants.models import huggingface_model, litgpt_model, our_model, our_params
from benchmarks.contestants.sizes import SIZES, VOCAB
from gptmodel.config import PastBlock, SampleParams
from gptmodel.language_model import LanguageModel
from gptmodel.nn.transformer import TransformerModel
from gptmodel.sampling.generate import generate
from gptmodel.sampling.incremental import IncrementalModel
from gptmodel.tokenizers.char import CharTokenizer

TEMPERATURE = 0.8
LAPTOP = SIZES["nanogpt"]
PLAIN, CROP, SHIFT = "plain loop", "gptmodel", "gptmodel, shift"
Continue = Callable[[Tensor, int], Tensor]  # idx (B, T), new tokens -> (B, T + new tokens)


def plain(model: TransformerModel) -> Continue:
    """Continue in the manner of nanoGPT's `generate`: a whole forward pass for each token."""

    @torch.no_grad()
    def continued(idx: Tensor, tokens: int) -> Tensor:
        generator = torch.Generator().manual_seed(1)
        for _ in range(tokens):
            logits = model(idx[:, -LAPTOP.block_size :])[:, -1] / TEMPERATURE  # (B, V)
            following = torch.multinomial(F.softmax(logits, dim=-1), 1, generator=generator)  # (B, 1)
            idx = torch.cat((idx, following), dim=1)  # (B, T + 1)
        return idx

    return continued


def ours(transformer: TransformerModel, past_block: PastBlock) -> Continue:
    """Continue with the library."""
    model = LanguageModel(transformer, CharTokenizer(chr(33 + number) for number in range(VOCAB)))

    def continued(idx: Tensor, tokens: int) -> Tensor:
        settings = {"max_new_tokens": tokens, "temperature": TEMPERATURE, "past_block": past_block}
        params = SampleParams.model_validate(SampleParams.defaults() | settings)
        steps = generate(IncrementalModel(model), idx, params, torch.Generator().manual_seed(1))
        drawn = [step.ids for step in steps]
        return torch.cat((idx, torch.stack(drawn, dim=1)), dim=1)

    return continued


def huggingface() -> Continue:
    """Continue with `generate` of Hugging Face transformers, which keeps keys and values."""
    model = huggingface_model(LAPTOP).eval()
    model.generation_config.eos_token_id = None  # as many tokens as are asked for

    def continued(idx: Tensor, tokens: int) -> Tensor:
        options = {"do_sample": True, "temperature": TEMPERATURE, "top_k": 0, "use_cache": True, "pad_token_id": 0}
        drawn: Tensor = model.generate(idx, attention_mask=torch.ones_like(idx), max_new_tokens=tokens, **options)
        return drawn

    return continued


def litgpt() -> Continue:
    """Continue one text with litgpt's `generate`, which keeps keys and values."""
    from litgpt.generate.base import generate as theirs

    model = litgpt_model(LAPTOP).eval()
    model.set_kv_cache(batch_size=1)

    def continued(idx: Tensor, tokens: int) -> Tensor:
        length = idx.size(1) + tokens
        drawn: Tensor = theirs(model, idx[0], max_returned_tokens=length, temperature=TEMPERATURE)
        return drawn[None]

    return continued


def samplers() -> dict[str, Continue]:
    """Return all that are compared."""
    model = our_model(our_params(LAPTOP)).eval()
    peers = {"HF GPT-2": huggingface, "litgpt": litgpt}
    installed = {name: peers[name]() for name in contestants() if name in peers}
    return {PLAIN: plain(model), CROP: ours(model, "crop"), SHIFT: ours(model, "shift"), **installed}


def can_continue(name: str, texts: int, prompt: int) -> bool:
    """Whether a contestant can continue this many texts from a prompt of this many tokens.

    `shift` is a way of its own past block_size only.
    """
    if name in (PLAIN, CROP, SHIFT):
        return name != SHIFT or prompt > 1
    return prompt == 1 and (texts == 1 or name != "litgpt")

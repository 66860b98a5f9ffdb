"""Writes docs/TUTORIAL.md: each item of the tutorial, the code that implements it, the test that holds it.

`python docs/tutorial.py` after a change of that code. A test makes the page again and compares.
"""

import ast
import textwrap
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "TUTORIAL.md"
HEAD = """# The tutorial, item by item

The project implements a well-known tutorial, a character-level transformer, to the letter. This page shows for each
item where its code is, the code itself, the test that holds it, and the setting that leaves the tutorial.
`cp presets/tutorial.yaml params.yaml` sets all of them back to the tutorial; the defaults depart from it in two:
learned positions and AdamW.

This page is made by `python docs/tutorial.py` from the code. Do not edit it.
"""


@dataclass(frozen=True)
class Item:
    """An item of the tutorial."""

    title: str
    says: str
    """What the tutorial says, in words of our own."""
    file: str
    symbols: tuple[str, ...]
    """The classes and functions that do it, `Class.method` for a part of a class."""
    test: str
    """file::test"""
    leaves: str
    """The setting that leaves the tutorial, or why there is none."""


ITEMS = (
    Item(
        "Characters and ids",
        "Each distinct character gets an integer: `stoi` maps a character to its id, `itos` an id to its character.",
        "gptmodel/tokenizers/char.py",
        ("CharTokenizer.__init__", "CharTokenizer.encode_array", "CharTokenizer.decode"),
        "tests/tokenizers/test_char.py::test_stoi_and_itos_as_in_the_tutorial",
        "`prepare.tokenizer: byte` has an id for each of the 256 bytes instead.",
    ),
    Item(
        "Train and validation data",
        "The first 90 % of the text train and the remaining 10 % validate. With a token for each character this is the "
        "tutorial's slice of the ids.",
        "gptmodel/data/corpus.py",
        ("prepare",),
        "tests/data/test_corpus.py::test_the_first_nine_tenths_train_and_the_rest_validates",
        "`prepare.train_fraction`",
    ),
    Item(
        "A sequence and its targets",
        "`get_batch(data, idx, bptt)` cuts a sequence and the same sequence shifted by one.",
        "gptmodel/data/batches.py",
        ("get_batch",),
        "tests/data/test_batches.py::test_get_batch_as_in_the_tutorial",
        "None. A training batch is `train.batch_size` such sequences from random places.",
    ),
    Item(
        "A training batch",
        "Sequences from random places of the training data. Here they are a function of the seed and the iteration, so "
        "that a stopped training goes on with the same batches.",
        "gptmodel/data/batches.py",
        ("training_batch",),
        "tests/data/test_batches.py::test_a_training_batch_is_made_of_get_batch",
        "`train.batch_size`, `model.block_size`, `train.seed`",
    ),
    Item(
        "The loss of both splits",
        "`estimate_loss` divides the total loss by the number of elements, for each of the two splits.",
        "gptmodel/evaluation/loss.py",
        ("estimate_loss",),
        "tests/evaluation/test_loss.py::test_estimate_loss_is_the_tutorials",
        "None. `train.eval_iters` bounds the batches of an evaluation during a training.",
    ),
    Item(
        "A head of self-attention",
        "Key, query and value are linear maps; `tril` hides the future; weights are the softmax of scaled products.",
        "gptmodel/nn/attention.py",
        ("Head",),
        "tests/nn/test_attention.py::test_a_head_is_scaled_dot_product_attention_over_the_past",
        "`model.position: rotary` turns queries and keys, `model.qk_norm: true` normalises them; "
        "`model.qkv_bias: true`; `model.attention_dropout`.",
    ),
    Item(
        "Several heads",
        "Heads side by side, concatenated, projected by `proj`, then dropout.",
        "gptmodel/nn/attention.py",
        ("MultiHeadAttention.forward",),
        "tests/nn/test_attention.py::test_heads_are_concatenated_in_order_and_projected",
        "None. Training uses a fused twin (`gptmodel/nn/fused.py`) that gives the same logits and gradients: "
        "`tests/nn/test_fused.py`.",
    ),
    Item(
        "Feed-forward",
        "A linear map to four times the width, ReLU, a linear map back, dropout.",
        "gptmodel/nn/block.py",
        ("FeedForward.__init__",),
        "tests/nn/test_block.py::test_feed_forward_is_up_activation_down",
        "`model.activation: gelu`, `gelu_tanh` or `relu2`",
    ),
    Item(
        "A block",
        "Attention and feed-forward, each added to its input and followed by layer normalisation.",
        "gptmodel/nn/block.py",
        ("Block",),
        "tests/nn/test_block.py::test_post_norm_normalises_each_sum",
        "`model.norm: pre` normalises the input of each part instead; `model.norm_type: rmsnorm`; "
        "`model.zero_init: true`.",
    ),
    Item(
        "The model",
        "Token embedding, scaled by the square root of the width, blocks, and a linear decoder to the vocabulary.",
        "gptmodel/nn/transformer.py",
        ("TransformerModel.__init__", "TransformerModel.embed", "TransformerModel.logits"),
        "tests/nn/test_transformer.py::test_the_parts_have_the_tutorials_names",
        "`model.position: learned` adds an embedding of the position (a default here; `none` is the tutorial's); "
        "`model.scale_embedding: false`; `model.ngram_orders`; `model.logit_softcap`; `model.decoder_bias: false`; "
        "`model.tie_embeddings: true`.",
    ),
    Item(
        "An iteration",
        "Forward, loss, backward, update.",
        "gptmodel/training/step.py",
        ("nats_of_all", "training_step"),
        "tests/training/test_step.py::test_the_update_is_the_gradient_of_the_mean_loss_and_the_loss_is_that_before_the_update",
        "`train.optimizer: adamw` (a default here; `sgd` is the tutorial's) or `muon`; `train.grad_clip`; "
        "`train.teacher_order`.",
    ),
    Item(
        "The training loop",
        "`max_iters` iterations, with an evaluation of both splits every `eval_interval`.",
        "gptmodel/training/loop.py",
        ("fit", "_Pauses.lead_on"),
        "tests/training/test_loop.py::test_each_iteration_trains_on_its_batch_at_its_learning_rate",
        "`train.lr_schedule` and `train.warmup_iters` let the learning rate change.",
    ),
    Item(
        "The trained model",
        "The final parameters are saved to `model.pth`. Here the file holds the tokenizer and the settings too.",
        "gptmodel/checkpoint/model_file.py",
        ("model_bytes",),
        "tests/checkpoint/test_model_file.py::test_a_checkpoint_gives_back_the_model_and_all_that_belongs_to_it",
        "None.",
    ),
    Item(
        "Reading the two losses",
        "Train far below val is overfitting; both high is underfitting.",
        "gptmodel/evaluation/diagnosis.py",
        ("diagnose",),
        "tests/evaluation/test_diagnosis.py::test_the_verdict_at_its_borders",
        "`evaluate.overfit_gap` says how far is far.",
    ),
)


def excerpt(file: str, symbol: str) -> str:
    """Return the source of a class or function, as it stands in a file."""
    source = (ROOT / file).read_text(encoding="utf-8")
    node: ast.AST = ast.parse(source)
    for name in symbol.split("."):
        node = next(child for child in ast.iter_child_nodes(node) if getattr(child, "name", "") == name)
    assert isinstance(node, ast.ClassDef | ast.FunctionDef)
    first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
    return textwrap.dedent("\n".join(source.splitlines()[first - 1 : node.end_lineno]))


def page() -> str:
    """Return docs/TUTORIAL.md."""
    parts = [HEAD]
    for number, item in enumerate(ITEMS, start=1):
        names = ", ".join(f"`{symbol}`" for symbol in item.symbols)
        code = "\n\n\n".join(excerpt(item.file, symbol) for symbol in item.symbols)
        parts.append(
            f"## {number}. {item.title}\n{textwrap.fill(item.says, 120)}\n\n"
            f"- code: [`{item.file}`](../{item.file}), {names}\n"
            f"- test: `{item.test}`\n"
            f"- leaves the tutorial: {item.leaves}\n\n"
            f"```python\n{code}\n```\n"
        )
    return "\n".join(parts)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")

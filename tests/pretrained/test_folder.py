"""A GPT-2 from the folder that transformers saves: the same logits as its formulas give, or one line that says why not.

Each mistake in the mapping that the shapes let through has to show.
"""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from gpt2_folders import CONFIG, C, T, V, logits_by_hand, random_weights, vocab_json, write_folder
from model_helpers import batch
from torch import Tensor

import gptmodel
from gptmodel.checkpoint.model_file import load_model
from gptmodel.errors import CheckpointError, ConfigError
from gptmodel.pretrained import folder as folder_module
from gptmodel.pretrained import gpt2
from gptmodel.pretrained.folder import import_folder, imported_model
from gptmodel.pretrained.safetensors_file import SafetensorsFile

WEIGHTS = random_weights()
IDX = batch(2, T, V)
EXPECTED = logits_by_hand(WEIGHTS, IDX)


def difference(folder: Path, expected: Tensor = EXPECTED) -> float:
    """How far the logits of an imported model are from those of the formulas."""
    logits = imported_model(folder).predict(IDX)
    return (logits.detach() - expected).abs().max().item()


def named_anew(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """As newer versions of transformers name them."""
    return {f"transformer.{name}": tensor for name, tensor in weights.items()}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_folder(tmp_path / "gpt2", WEIGHTS)


def test_the_logits_are_those_of_the_formulas(folder: Path) -> None:
    assert EXPECTED.std() > 0.5
    assert difference(folder) < 1e-5
    mask = torch.ones(1, 1, T, T).tril()
    older = WEIGHTS | {"h.0.attn.bias": mask, "h.1.attn.bias": mask.byte(), "h.1.attn.masked_bias": torch.tensor(-1e4)}
    assert difference(write_folder(folder, older)) < 1e-5
    assert difference(write_folder(folder, named_anew(WEIGHTS) | {"lm_head.weight": WEIGHTS["wte.weight"]})) < 1e-5


def test_other_activations_and_a_matrix_of_its_own_for_the_logits(folder: Path) -> None:
    exact = logits_by_hand(WEIGHTS, IDX, "gelu")
    assert (exact - EXPECTED).abs().max() > 1e-4
    assert difference(write_folder(folder, WEIGHTS, activation_function="gelu"), exact) < 1e-5
    assert difference(write_folder(folder, WEIGHTS, activation_function="gelu_pytorch_tanh")) < 1e-5
    untied = named_anew(WEIGHTS) | {"lm_head.weight": random_weights(1)["wte.weight"]}
    expected = logits_by_hand(WEIGHTS | {"lm_head.weight": untied["lm_head.weight"]}, IDX)
    assert difference(write_folder(folder, untied, tie_word_embeddings=False), expected) < 1e-5


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_taken_over_exactly(folder: Path, dtype: torch.dtype) -> None:
    halves = {name: tensor.to(dtype) for name, tensor in WEIGHTS.items()}
    assert difference(write_folder(folder, halves), logits_by_hand(halves, IDX)) < 1e-5


def test_the_model_file_is_one_of_this_project(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "models" / "imported.pth"
    model = import_folder(folder, out)
    files = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in sorted(SOURCES)}
    assert load_model(out).provenance == model.provenance == {"imported": files}
    import_folder(folder, tmp_path / "again.pth")
    assert (tmp_path / "again.pth").read_bytes() == out.read_bytes()
    loaded = gptmodel.load(out)
    assert len(loaded.generate("To be", max_new_tokens=5, seed=1)) > 0
    assert torch.equal(load_model(out).predict(IDX), model.predict(IDX))
    with pytest.raises(ConfigError, match=r"imported\.pth: is there already; name a file that is not"):
        import_folder(folder, out)


SOURCES = ("config.json", "model.safetensors", "vocab.json")
AS_IS = SafetensorsFile.read


def reading(change: Callable[[str, Tensor], Tensor]) -> Callable[[pytest.MonkeyPatch], None]:
    return lambda patch: patch.setattr(SafetensorsFile, "read", lambda file, name: change(name, AS_IS(file, name)))


def switched(**changes: Any) -> Callable[[pytest.MonkeyPatch], None]:
    make = gpt2.own_params
    return lambda patch: patch.setattr(
        folder_module, "own_params", lambda config: make(config).model_copy(update=changes)
    )


def square_as_it_lies(own: str) -> tuple[str, bool]:
    name, turned = gpt2.their_name(own)
    return name, turned and ".sa.proj." not in own


MUTANTS: dict[str, Callable[[pytest.MonkeyPatch], None]] = {
    "a square matrix not turned": lambda patch: patch.setattr(folder_module, "their_name", square_as_it_lies),
    "the norms exchanged": lambda patch: patch.setattr(
        gpt2, "BLOCK_MODULES", {**gpt2.BLOCK_MODULES, "ln1": "ln_2", "ln2": "ln_1"}
    ),
    "query, key and value in another order": reading(lambda n, t: t.roll(C, -1) if ".c_attn." in n else t),
    "biases of queries, keys and values left out": reading(lambda n, t: t * 0 if n.endswith("c_attn.bias") else t),
    "the exact GELU": switched(activation="gelu"),
    "the embedding scaled": switched(scale_embedding=True),
    "queries normalised": switched(qk_norm=True),
    "positions one late": reading(lambda n, t: t.roll(1, 0) if n == "wpe.weight" else t),
}


@pytest.mark.parametrize("mutant", MUTANTS)
def test_a_mistake_in_the_mapping_shows(mutant: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    MUTANTS[mutant](monkeypatch)
    assert difference(folder) > 1e-4


def without(name: str) -> dict[str, Tensor]:
    return {key: tensor for key, tensor in WEIGHTS.items() if key != name}


def config_of(**changes: Any) -> Callable[[Path], Any]:
    return lambda folder: write_folder(folder, WEIGHTS, **changes)


def weights_of(weights: dict[str, Tensor], **config: Any) -> Callable[[Path], Any]:
    return lambda folder: write_folder(folder, weights, **config)


def vocabulary(change: Callable[[dict[str, int]], Any]) -> Callable[[Path], Any]:
    def write(folder: Path) -> None:
        vocab = json.loads(vocab_json())
        (folder / "vocab.json").write_text(json.dumps(change(vocab)), encoding="utf-8")

    return write


def exchanged(vocab: dict[str, int], one: str, other: str) -> dict[str, int]:
    return vocab | {one: vocab[other], other: vocab[one]}


CONFIG_LINES: dict[str, tuple[dict[str, Any], str]] = {
    "another model": ({"model_type": "gpt_neo"}, "model_type = gpt_neo: only gpt2 can be imported"),
    "no model": ({"model_type": None}, "model_type = null: only gpt2"),
    "another scale": ({"scale_attn_weights": False}, "scale_attn_weights = false: only true can be imported"),
    "a scale for each layer": (
        {"scale_attn_by_inverse_layer_idx": True},
        "scale_attn_by_inverse_layer_idx = true: on",
    ),
    "another order of steps": ({"reorder_and_upcast_attn": True}, "reorder_and_upcast_attn = true: only false"),
    "cross attention": ({"add_cross_attention": True}, "add_cross_attention = true: only false"),
    "another epsilon": ({"layer_norm_epsilon": 1e-6}, "layer_norm_epsilon = 1e-06: only 1e-05 can be imported"),
    "another inner width": ({"n_inner": 16}, "n_inner = 16: only four times n_embd, 32, can be imported"),
    "another activation": ({"activation_function": "silu"}, "activation_function = silu: only relu, gelu, gelu_new"),
    "an activation that is a list": ({"activation_function": ["gelu"]}, 'activation_function = ["gelu"]: only'),
    "tied by a word": ({"tie_word_embeddings": "no"}, "tie_word_embeddings = no: has to be true or false"),
    "heads that do not fit": ({"n_head": 3}, "n_head = 3: does not divide n_embd = 8"),
    "a width of 0": ({"n_embd": 0}, "n_embd = 0: has to be a whole number from 1 to 65536"),
    "layers that are true": ({"n_layer": True}, "n_layer = true: has to be a whole number"),
    "no positions": ({"n_positions": None}, "n_positions = null: has to be a whole number"),
    "more tokens": ({"vocab_size": 50_304}, "vocab_size = 50304: only GPT-2's own vocabulary of 50257 tokens can be"),
}
REFUSED: dict[str, tuple[Callable[[Path], Any], str]] = {
    **{name: (config_of(**changes), f"config.json: {line}") for name, (changes, line) in CONFIG_LINES.items()},
    "a layer more": (config_of(n_layer=3), "h.2.attn.c_attn.weight is not there, and config.json needs [8, 24]"),
    "a million layers": (config_of(n_layer=65_536), "its weights are not those of n_layer = 65536 in config.json"),
    "a layer less": (config_of(n_layer=1), "h.1.ln_1.weight is no part of what config.json describes"),
    "longer blocks": (config_of(n_positions=32), "wpe.weight has the shape [16, 8], and config.json needs [32, 8]"),
    "a weight is missing": (weights_of(without("ln_f.bias")), "transformer.ln_f.bias is not there"),
    "a weight too many": (
        weights_of(WEIGHTS | {"h.0.attn.q_attn.weight": torch.ones(2)}),
        "q_attn.weight is no part",
    ),
    "a weight twice": (weights_of(WEIGHTS | {"transformer.ln_f.bias": torch.ones(C)}), "its weights are not those of"),
    "a matrix the other way round": (
        weights_of(WEIGHTS | {"h.0.mlp.c_fc.weight": torch.ones(4 * C, C)}),
        "h.0.mlp.c_fc.weight has the shape [32, 8], and config.json needs [8, 32]",
    ),
    "float64": (weights_of(WEIGHTS | {"ln_f.bias": torch.ones(C).double()}), "ln_f.bias has the dtype F64; only F32"),
    "not a number": (weights_of(WEIGHTS | {"ln_f.bias": torch.full((C,), torch.nan)}), "numbers that are not finite"),
    "a matrix for the logits that is not tied": (
        weights_of(WEIGHTS | {"lm_head.weight": WEIGHTS["wte.weight"] + 1}),
        "lm_head.weight differs from wte.weight, although tie_word_embeddings in config.json",
    ),
    "no matrix for the logits": (weights_of(WEIGHTS, tie_word_embeddings=False), "lm_head.weight is not there"),
    "no tokenizer": (
        lambda f: (f / "vocab.json").unlink(),
        "has neither tokenizer.json nor vocab.json, so nothing",
    ),
    "two tokens exchanged": (
        vocabulary(lambda v: exchanged(v, "Hello", "World")),
        "vocab.json: its tokens are not those",
    ),
    "two bytes exchanged": (
        vocabulary(lambda v: exchanged(v, "a", "b")),
        "vocab.json: its tokens are not those of GPT-2",
    ),
    "a token too many": (vocabulary(lambda v: v | {"<|pad|>": V}), "vocab.json: its tokens are not those of GPT-2"),
    "an id that is a text": (vocabulary(lambda v: v | {"a": "64"}), "vocab.json: its tokens are not those of GPT-2"),
    "a list of tokens": (vocabulary(list), "vocab.json: its tokens are not those of GPT-2"),
    "another tokenizer beside it": (
        lambda f: (f / "tokenizer.json").write_text('{"model": {"vocab": {"a": 0}}}'),
        "tokenizer.json: its tokens are not those of GPT-2, which alone can be imported",
    ),
    "a tokenizer that is no JSON": (
        lambda f: (f / "tokenizer.json").write_text("{"),
        "tokenizer.json: is not JSON",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_map_is_refused_by_its_name_and_leaves_nothing(case: str, folder: Path, tmp_path: Path) -> None:
    change, line = REFUSED[case]
    change(folder)
    with pytest.raises(CheckpointError) as error:
        import_folder(folder, tmp_path / "new" / "imported.pth")
    message = str(error.value)
    assert message.startswith(str(folder))
    assert line in message
    assert "\n" not in message
    assert [path.name for path in tmp_path.iterdir()] == ["gpt2"]


def test_the_config_says_it_all(folder: Path) -> None:
    """A key that is left out is as GPT-2's own."""
    assert not {"scale_attn_weights", "n_inner", "tie_word_embeddings"} & CONFIG.keys()
    spoken = {**gpt2.FIXED, "n_inner": 4 * C, "tie_word_embeddings": True}
    assert imported_model(write_folder(folder, WEIGHTS, **spoken)).params == imported_model(folder).params

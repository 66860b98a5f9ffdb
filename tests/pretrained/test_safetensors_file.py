"""The reader of safetensors files: what was written, or one line that says why the file is none."""

from pathlib import Path

import pytest
import torch
from gpt2_folders import safetensors_bytes

from gptmodel.errors import CheckpointError
from gptmodel.pretrained.safetensors_file import SafetensorsFile


def test_a_file_of_weights_is_read_as_it_was_written(tmp_path: Path) -> None:
    weights = {"one": torch.tensor(1.5), "none": torch.empty(0, 3), "some": torch.arange(6.0).view(2, 3)}
    path = tmp_path / "model.safetensors"
    path.write_bytes(safetensors_bytes(weights))
    file = SafetensorsFile(path)
    assert file.shapes == {name: tuple(tensor.shape) for name, tensor in weights.items()}
    assert all(torch.equal(file.read(name), tensor) for name, tensor in weights.items())


SOME = {"a": torch.ones(2), "b": torch.ones(3)}
DAMAGED: dict[str, tuple[bytes, str]] = {
    "nothing": (b"", "it is empty or too short"),
    "a header without an end": (b"\xff" * 40, "its header claims 18446744073709551615 bytes"),
    "no JSON": (b"\x02" + b"\0" * 7 + b"{[", "Expecting property name"),
    "a list": (b"\x02" + b"\0" * 7 + b"[]", "its header is no JSON object"),
    "brackets": (b"\xa0\x86\x01" + b"\0" * 5 + b"[" * 100_000, "recursion"),
    "a name twice": (b"\x0d" + b"\0" * 7 + b'{"a":1,"a":1}', "its header has a name twice"),
    "an end that is missing": (safetensors_bytes(SOME)[:-4], "its tensors need"),
    "bytes behind the end": (safetensors_bytes(SOME) + b"0", "its tensors need"),
    "the same bytes twice": (
        safetensors_bytes(SOME, b={"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}),
        "its tensors overlap",
    ),
    "a gap": (safetensors_bytes(SOME, a={"dtype": "F32", "shape": [1], "data_offsets": [4, 8]}), "or leave a gap"),
    "a shape that is larger": (
        safetensors_bytes(SOME, a={"dtype": "F32", "shape": [9], "data_offsets": [0, 8]}),
        "'a'",
    ),
    "a shape below nothing": (
        safetensors_bytes(SOME, a={"dtype": "F32", "shape": [-1, -2], "data_offsets": [0, 8]}),
        "its entry 'a' makes no sense",
    ),
    "an unknown dtype": (
        safetensors_bytes(SOME, a={"dtype": "F9", "shape": [2], "data_offsets": [0, 8]}),
        "'a' makes no",
    ),
    "an entry that is a number": (safetensors_bytes(SOME, a=5), "its entry 'a' makes no sense"),
    "an entry with more": (
        safetensors_bytes(SOME, a={"dtype": "F32", "shape": [2], "data_offsets": [0, 8], "x": 1}),
        "its entry 'a' makes no sense",
    ),
}


@pytest.mark.parametrize("case", DAMAGED)
def test_a_damaged_file_of_weights_is_refused(case: str, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    content, reason = DAMAGED[case]
    path.write_bytes(content)
    with pytest.raises(CheckpointError) as error:
        SafetensorsFile(path)
    assert str(error.value).startswith(f"{path}: no safetensors file, or damaged (")
    assert reason in str(error.value)

"""Every single bit of a snapshot, and every length it may be cut to: such a file is passed over, never loaded."""

from pathlib import Path

import pytest
import torch

from gptmodel.training.snapshot import SnapshotStore


@pytest.mark.slow
def test_every_bit_and_every_length(tmp_path: Path) -> None:
    store = SnapshotStore(tmp_path)
    store.save(7, {"iteration": 7, "weights": torch.full((50,), 0.5), "history": [{"iteration": 0, "loss": 1.5}]})
    (path,) = tmp_path.glob("snapshot-*.pt")
    content = path.read_bytes()
    assert store.load_newest() is not None
    damaged = 0
    for place in range(len(content)):
        for bit in range(8):
            flipped = bytearray(content)
            flipped[place] ^= 1 << bit
            path.write_bytes(flipped)
            assert store.load_newest() is None, (place, bit)
            damaged += 1
        path.write_bytes(content[:place])
        assert store.load_newest() is None, place
        damaged += 1
    assert damaged == 9 * len(content) > 10_000
    print(f"{damaged} damaged snapshots, none loaded")

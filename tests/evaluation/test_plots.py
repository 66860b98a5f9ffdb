"""The pictures: PNG files, the same bytes each time."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from model_helpers import ROOT

from gptmodel.evaluation.history import Evaluation
from gptmodel.evaluation.plots import plot_loss_by_position, plot_loss_curves


def row(iteration: int, train_loss: float, val_loss: float) -> Evaluation:
    losses = {"train_loss": train_loss, "val_loss": val_loss}
    return Evaluation(iteration=iteration, tokens=0, seconds=0.0, learning_rate=0.0, **losses)


def curves(path: Path, shift: float = 0.0) -> None:
    plot_loss_curves(path, [row(0, 4.0, 4.1), row(10, 2.0 + shift, 2.2), row(20, 1.5, 2.4)])


def one_row(path: Path, shift: float = 0.0) -> None:
    plot_loss_curves(path, [row(0, 4.0 + shift, 4.1)])


def positions(path: Path, shift: float = 0.0) -> None:
    plot_loss_by_position(path, np.array([3.0, 2.0 + shift, 1.5]), np.array([3.1, 2.2]))


@pytest.mark.parametrize("draw", [curves, one_row, positions])
def test_a_picture_is_a_png_of_the_same_bytes_each_time(tmp_path: Path, draw: Callable[..., None]) -> None:
    one, again, other = (tmp_path / "folder" / name for name in ("one.png", "again.png", "other.png"))
    draw(one)
    draw(again)
    draw(other, 0.5)
    content = one.read_bytes()
    assert content.startswith(b"\x89PNG\r\n\x1a\n")
    assert content.endswith(b"IEND\xaeB`\x82")
    assert len(content) > 5000
    assert again.read_bytes() == content
    assert other.read_bytes() != content


@pytest.mark.parametrize("link", [Path.symlink_to, Path.hardlink_to])
def test_a_picture_takes_the_place_of_a_link_and_leaves_what_it_led_to(
    tmp_path: Path, link: Callable[[Path, Path], None]
) -> None:
    """DVC's outs may be links into its cache."""
    cached, picture = tmp_path / "cached", tmp_path / "picture.png"
    cached.write_bytes(b"an older picture")
    link(picture, cached)
    curves(picture)
    assert cached.read_bytes() == b"an older picture"
    assert not picture.is_symlink()
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_a_users_settings_of_matplotlib_change_no_byte(tmp_path: Path) -> None:
    curves(tmp_path / "plain.png")
    (tmp_path / "matplotlibrc").write_text("font.size: 20\naxes.facecolor: red\n", encoding="utf-8")
    code = (
        "import sys; sys.path[:0] = sys.argv[1:3]; from evaluation.test_plots import curves; from pathlib import Path; "
    )
    code += "curves(Path(sys.argv[3]))"
    command = [sys.executable, "-c", code, str(ROOT), str(ROOT / "tests"), str(tmp_path / "styled.png")]
    subprocess.run(command, check=True, env={**os.environ, "MATPLOTLIBRC": str(tmp_path / "matplotlibrc")})
    assert (tmp_path / "styled.png").read_bytes() == (tmp_path / "plain.png").read_bytes()


def test_no_figure_is_left_open(tmp_path: Path) -> None:
    from matplotlib import pyplot as plt

    curves(tmp_path / "a.png")
    positions(tmp_path / "b.png")
    assert plt.get_fignums() == []

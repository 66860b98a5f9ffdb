"""What an installed gptmodel brings beside its Python."""

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

from attempts import ROOT

PAGE = ROOT / "gptmodel" / "serving" / "page"


def test_a_wheel_has_the_page(tmp_path: Path) -> None:
    source = tmp_path / "source"  # the build leaves files in it
    for name in ("gptmodel", "stages"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    options = ["--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", str(tmp_path)]
    subprocess.run([sys.executable, "-m", "pip", "wheel", *options, str(source)], check=True, cwd=tmp_path)
    with zipfile.ZipFile(next(tmp_path.glob("gptmodel-*.whl"))) as wheel:
        packed = {Path(name).name: wheel.read(name) for name in wheel.namelist() if "/serving/page/" in name}
    assert packed == {path.name: path.read_bytes() for path in PAGE.iterdir()}
    assert {"index.html", "app.js", "style.css"} <= set(packed)

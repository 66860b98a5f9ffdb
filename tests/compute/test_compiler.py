"""What torch compiles lies in a folder of the user's own: torch runs what it finds there."""

import os
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
import torch
from model_helpers import ROOT, small_params

from gptmodel.compute.compiler import CACHE_VARIABLE, _settings, find_compiler, use_private_cache
from gptmodel.errors import ConfigError


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder for caches of a user who named none for torch."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
    monkeypatch.setenv(CACHE_VARIABLE, "")  # to be put back afterwards, whatever is set in between
    monkeypatch.delenv(CACHE_VARIABLE)
    return folder


def refusal() -> str:
    """The line with which a cache is refused, before anything is compiled."""
    with pytest.raises(ConfigError) as caught:
        find_compiler(small_params(train={"compile": True}), torch.device("cpu"))
    line = str(caught.value)
    assert line.startswith("train.compile = true: ")
    assert line.endswith(f"set {CACHE_VARIABLE} to a folder of your own")
    assert "\n" not in line
    assert CACHE_VARIABLE not in os.environ
    return line


@pytest.mark.parametrize("before", ["", str(Path(tempfile.gettempdir(), "torchinductor_me"))], ids=["unset", "torch's"])
def test_the_cache_is_the_users_own(cache: Path, monkeypatch: pytest.MonkeyPatch, before: str) -> None:
    monkeypatch.setenv(CACHE_VARIABLE, before)
    mask = os.umask(0o002)
    try:
        use_private_cache()
    finally:
        os.umask(mask)
    assert Path(os.environ[CACHE_VARIABLE]).parent == cache / "gptmodel" / "torchinductor"
    assert stat.S_IMODE((cache / "gptmodel").stat().st_mode) == 0o700
    use_private_cache()
    assert Path(os.environ[CACHE_VARIABLE]).parent == cache / "gptmodel" / "torchinductor"


def test_without_a_folder_for_caches_it_is_below_the_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.setenv(CACHE_VARIABLE, "")
    use_private_cache()
    assert Path(os.environ[CACHE_VARIABLE]).parent == tmp_path / ".cache" / "gptmodel" / "torchinductor"


def test_a_folder_that_the_user_names_is_taken_as_it_is(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CACHE_VARIABLE, "/somewhere/else")
    use_private_cache()
    assert os.environ[CACHE_VARIABLE] == "/somewhere/else"
    assert not cache.exists()


def test_each_kind_of_instructions_has_a_folder(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folders = []
    for capability in ("AVX512", "AVX2"):
        monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda capability=capability: capability)
        monkeypatch.setenv(CACHE_VARIABLE, "")
        use_private_cache()
        folders.append(Path(os.environ[CACHE_VARIABLE]))
    assert [folder.name.partition("-")[0] for folder in folders] == ["avx512", "avx2"]
    assert {folder.parent for folder in folders} == {cache / "gptmodel" / "torchinductor"}


@pytest.mark.slow
@pytest.mark.skipif(torch.backends.cpu.get_cpu_capability() != "AVX512", reason="needs a processor with AVX-512")
def test_code_for_other_instructions_is_not_taken(tmp_path: Path) -> None:
    """What torch finds in its cache for shorter vectors, it compiles for longer ones, which write over memory."""
    code = (
        "import torch\n"
        "from gptmodel.compute.place import Place\n"
        "from gptmodel.training.compiled import compiled\n"
        "from model_helpers import batch, small_model, small_params\n"
        "place = Place.of(small_params(train={'compile': True}), 'train')\n"
        "assert not place.not_compiled, place.not_compiled\n"
        "model = small_model(n_embd=64, n_head=4, block_size=32)\n"
        "pair = torch.zeros(16, 32, dtype=torch.int64), torch.zeros(16, 32, dtype=torch.int64)\n"
        "for _ in range(30):\n"
        "    nats = compiled(model, small_params().train, place)(model, *pair)\n"
        "    torch.autograd.grad(nats, list(model.parameters()))\n"
    )
    environment = {key: value for key, value in os.environ.items() if key != CACHE_VARIABLE}
    environment |= {"XDG_CACHE_HOME": str(tmp_path), "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}"}
    for capability in ("avx2", "avx512"):
        command, variables = [sys.executable, "-c", code], {"ATEN_CPU_CAPABILITY": capability}
        result = subprocess.run(
            command, env=environment | variables, capture_output=True, text=True, timeout=300, check=False
        )
        assert result.returncode == 0, (result.returncode, result.stderr)
    assert len(list((tmp_path / "gptmodel" / "torchinductor").iterdir())) == 2


@pytest.mark.parametrize("mode", [0o777, 0o770, 0o707, 0o1777], ids=oct)
def test_a_cache_that_others_may_write_to_is_refused(cache: Path, mode: int) -> None:
    (cache / "gptmodel").mkdir(parents=True)
    (cache / "gptmodel").chmod(mode)
    assert "others may write to it" in refusal()


def test_a_cache_that_others_may_put_another_in_place_of_is_refused(cache: Path) -> None:
    (cache / "gptmodel").mkdir(parents=True, mode=0o700)
    cache.chmod(0o777)
    assert f"others may write to {cache}" in refusal()
    cache.chmod(0o1777)  # where nobody can move what is not his
    use_private_cache()


def test_a_cache_that_others_may_read_is_closed_to_them(cache: Path) -> None:
    (cache / "gptmodel").mkdir(parents=True)
    (cache / "gptmodel").chmod(0o755)
    use_private_cache()
    assert stat.S_IMODE((cache / "gptmodel").stat().st_mode) == 0o700


def test_a_link_in_place_of_the_cache_is_refused(cache: Path, tmp_path: Path) -> None:
    cache.mkdir()
    (tmp_path / "planted").mkdir(mode=0o700)
    (cache / "gptmodel").symlink_to(tmp_path / "planted")
    assert "it is a link" in refusal()


def test_where_no_folder_can_be_made_is_one_line(cache: Path) -> None:
    cache.write_text("in the way")
    assert "no folder for what is compiled can be made" in refusal()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder to somebody else")
@pytest.mark.parametrize("whose", ["the cache", "the folder it is in"])
def test_a_cache_of_somebody_else_is_refused(cache: Path, whose: str) -> None:
    (cache / "gptmodel").mkdir(parents=True, mode=0o700)
    os.chown(cache / "gptmodel" if whose == "the cache" else cache, 12345, 12345)
    assert "belongs to another user" in refusal()


@pytest.mark.parametrize(
    "named",
    [
        pytest.param(False, id="our cache", marks=pytest.mark.slow),
        pytest.param(True, id="one that the user named", marks=pytest.mark.slow),
    ],
)
def test_nothing_compiled_goes_through_the_temporary_folder(tmp_path: Path, named: bool) -> None:
    """In a process of its own, which has not imported torch's compiler yet; the folder is watched as it is opened."""
    code = (
        "import os, sys, torch\n"
        "def watch(event, words):\n"
        "    if event in ('open', 'os.mkdir', 'os.rename'):\n"
        "        assert 'torchinductor_' not in str(words[0]), words\n"
        "sys.addaudithook(watch)\n"
        "from gptmodel.compute.compiler import OPTIONS, find_compiler, quiet\n"
        "from model_helpers import small_params\n"
        "print(find_compiler(small_params(train={'compile': True}), torch.device('cpu')))\n"
    )
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    environment = {key: value for key, value in os.environ.items() if key != CACHE_VARIABLE}
    environment |= {"XDG_CACHE_HOME": str(tmp_path / "cache"), "TMPDIR": str(temporary)}
    environment |= {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}"}
    environment |= {CACHE_VARIABLE: str(tmp_path / "named")} if named else {}
    command = [sys.executable, "-c", code]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert result.returncode == 0, result.stderr
    assert result.stdout.rstrip().endswith(", '')"), result.stdout
    assert not list(temporary.iterdir())
    assert list((tmp_path / ("named" if named else "cache/gptmodel/torchinductor")).rglob("*.so"))


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("TORCHDYNAMO_DISABLE", "1", "TORCHDYNAMO_DISABLE=1 in the environment turns torch's compiler off"),
        ("TORCH_COMPILE_DISABLE", "1", "TORCH_COMPILE_DISABLE=1 in the environment turns torch's compiler off"),
        (
            "OMP_DYNAMIC",
            "TRUE",
            "OMP_DYNAMIC=true in the environment leaves open how many threads compute compiled code",
        ),
    ],
)
def test_where_the_environment_forbids_it_nothing_is_compiled_and_why_is_told(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, reason: str
) -> None:
    monkeypatch.setenv(name, value)
    compiler, not_compiled = find_compiler(small_params(train={"compile": True}), torch.device("cpu"))
    assert compiler == ""
    assert not_compiled.startswith(reason)


@pytest.mark.thorough
def test_a_setting_of_torchs_compiler_is_part_of_the_platform() -> None:
    from torch._inductor import config

    before = _settings()
    with config.patch({"cpp.enable_unsafe_math_opt_flag": True}):
        assert _settings() != before
    assert _settings() == before

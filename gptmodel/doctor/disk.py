"""The examination of what the project takes of the disk, with the command that frees it and what that command loses."""

import os
import shlex
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from gptmodel.doctor.finding import Finding
from gptmodel.files import user_cache
from gptmodel.project.dvc_config import cache_folder
from gptmodel.units import size

LARGE = 1_000_000_000  # bytes


def disk(root: Path) -> Iterator[Finding]:
    """Say how much each place takes that grows with use, and what frees it."""
    yield from _place(
        "runs/",
        root / "runs",
        "`gptmodel doctor --free 30d` gives up trainings that nobody went on with for 30 days (they would start anew); "
        "`gptmodel sync` sends what MLflow misses, and frees its copies",
    )
    yield from _place("DVC's cache", cache_folder(root), freeing_cache(root))
    store = shlex.quote(f"sqlite:///{root / 'mlflow.db'}")
    yield from _place(
        "mlartifacts/",
        root / "mlartifacts",
        f"delete runs in `gptmodel ui`; `mlflow gc --backend-store-uri {store} --tracking-uri {store}` then frees "
        "their files, for good",
    )
    with suppress(RuntimeError):  # there is no home
        compiled = user_cache() / "torchinductor"
        mend = f"`rm -r {shlex.quote(str(compiled))}` frees it; compiled trainings then compile once more"
        yield from _place("what torch compiled for this user", compiled, mend)


def freeing_cache(root: Path) -> str:
    """Return what frees DVC's cache, and what is lost by it."""
    if not cache_folder(root).resolve().is_relative_to(root.resolve()):
        return (
            "other projects may share it, and `dvc gc` removes what is theirs too where --projects does not name them"
        )
    if not (root / ".git").exists():
        return "`dvc gc --workspace` removes all but what dvc.lock names now: earlier results are computed again"
    return (
        "`dvc gc --all-commits --all-experiments` removes what no commit and no experiment names: such results are "
        "computed again"
    )


def _place(name: str, folder: Path, mend: str) -> Iterator[Finding]:
    used = bytes_below(folder)
    if used:
        yield Finding("note" if used > LARGE else "ok", f"{name} takes {size(used)} of the disk: {mend}")


def bytes_below(folder: Path) -> int:
    """Return the bytes of the files below a folder, as far as they can be seen; links are not followed."""
    used = 0
    for path, _, names in os.walk(folder):
        for name in names:
            with suppress(OSError):
                used += os.lstat(os.path.join(path, name)).st_size  # noqa: PTH118  # half the time of Path
    return used

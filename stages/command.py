"""What the command lines of all stages share: options, files, the settings in the help, errors -> exit status."""

import errno
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args, get_origin

import typer
from typer.core import TyperCommand
from typer.exceptions import TyperException

from gptmodel.errors import ConfigError, GptModelError, Interrupted

if TYPE_CHECKING:
    from gptmodel.config import Params

PARAMS_FILE = Path("params.yaml")

# What the user can mend outside the program, and how.
MENDABLE = {
    errno.ENOSPC: "free some space",
    errno.EDQUOT: "free some space",
    errno.EFBIG: "allow larger files",
    errno.EROFS: "make the folder writable",
    errno.EACCES: "make it readable and writable",
    errno.EPERM: "make it readable and writable",
    errno.ENOTDIR: "move away the file that stands where a folder has to be",
    errno.EEXIST: "move away the file that stands where a folder has to be",
    errno.EISDIR: "move away the folder that stands where a file has to be",
    errno.ENAMETOOLONG: "give it a shorter name",
}
FOLDERS = ("data", "data/prepared", "models", "metrics", "plots", "samples")


def _writable(out: Path) -> Path:
    """Refuse a folder to write below before anything is computed for it, where a file stands in the way."""
    wanted = [out, *(out / name for name in FOLDERS)]
    for folder in (*out.parents, *wanted):
        if os.path.lexists(folder) and not folder.is_dir():
            raise ConfigError(f"--out {out}: {folder} is not a folder; move it away, or name another with --out")
    return out


ParamsOption = Annotated[  # eager: read before --help, which shows its settings
    Path, typer.Option("--params", metavar="FILE", help="The params file.", is_eager=True)
]
SettingsOption = Annotated[
    list[str] | None,
    typer.Option("-S", "--set", metavar="SECTION.KEY=VALUE", help="Change a setting for this run; repeatable."),
]
OutOption = Annotated[
    Path,
    typer.Option(
        "--out",
        metavar="DIR",
        callback=_writable,
        help="Folder to write below, so that a debugging run costs nothing that was trained.",
    ),
]
ModelOption = Annotated[Path, typer.Option("--model", metavar="FILE", help="The model file to use.")]


@dataclass(frozen=True)
class Layout:
    """Where the pipeline's files lie below a folder; dvc.yaml names the same paths."""

    root: Path = Path()

    @property
    def text(self) -> Path:
        return self.root / "data" / "input.txt"

    @property
    def prepared(self) -> Path:
        return self.root / "data" / "prepared"

    @property
    def model(self) -> Path:
        return self.root / "models" / "model.pth"

    @property
    def run(self) -> Path:
        return self.root / "models" / "run.json"

    @property
    def history(self) -> Path:
        return self.root / "metrics" / "history.csv"

    def metrics(self, stage: str) -> Path:
        return self.root / "metrics" / f"{stage}.json"

    @property
    def plots(self) -> Path:
        return self.root / "plots"

    @property
    def samples(self) -> Path:
        return self.root / "samples" / "samples.txt"


MODEL_FILE = Layout().model


def project_root() -> Path:
    """Return the folder that keeps runs/ and the MLflow store: $DVC_ROOT, or the nearest one with a dvc.yaml.

    `dvc exp run --temp` works in a folder that is deleted afterwards; $DVC_ROOT is the lasting one.
    """
    if root := os.environ.get("DVC_ROOT"):
        return Path(root)
    here = Path.cwd()
    return next((folder for folder in (here, *here.parents) if (folder / "dvc.yaml").is_file()), here)


def read_params(path: Path, settings: list[str] | None) -> "Params":
    """Load and check a params file, telling the user of settings without effect and of those DVC will not know."""
    from gptmodel.config import load_params
    from gptmodel.ignored_settings import ignored_settings

    params = load_params(path, settings or ())
    for line in ignored_settings(params):
        note(f"warning: {line}")
    if settings and "DVC_STAGE" not in os.environ:
        note(f"note: -S {' -S '.join(settings)} holds for this run only; dvc.lock will not know of it")
    return params


def note(line: str) -> None:
    """Tell the user something that is not a result, on stderr."""
    typer.echo(line, err=True)


def showing(*sections: str) -> type[TyperCommand]:
    """Return the command class whose help ends with these sections' settings, as the params file has them now."""

    class StageCommand(TyperCommand):
        def format_epilog(self, ctx: Any, formatter: Any) -> None:
            from gptmodel.config import Params
            from gptmodel.params_file import read_params

            path = ctx.params.get("params") or PARAMS_FILE
            try:
                values = read_params(path)
            except GptModelError as error:
                formatter.write_paragraph()
                formatter.write_text(f"The settings cannot be listed: {error}")
                return
            for section in sections:
                kind: Any = Params.model_fields[section].annotation
                given = values.get(section) or {}
                rows = [
                    (
                        f"{section}.{key}",
                        f"{_choices(field.annotation)}{field.description}  [default: {_plain(given.get(key))}]",
                    )
                    for key, field in kind.model_fields.items()
                ]
                with formatter.section(f"Settings of {path}, section {section} (change with -S)"):
                    formatter.write_dl(rows)

    return StageCommand


def _choices(kind: Any) -> str:
    return f"{'|'.join(get_args(kind))}: " if get_origin(kind) is Literal else ""


def _plain(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    return repr(value) if isinstance(value, str) and not value.strip() else str(value)


def new_app(**settings: Any) -> typer.Typer:
    """Return a Typer app that starts fast and leaves tracebacks as they are."""
    return typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False, **settings)


def main(app: Callable[..., Any]) -> None:
    """Run a command line and end the process with the documented status.

    0 done; 2 the user's input is wrong: one line on stderr; 130 and 143 stopped by SIGINT and SIGTERM;
    1 anything else, with its traceback.
    """
    signal.signal(signal.SIGTERM, _terminate)
    try:
        sys.exit(app(standalone_mode=False) or 0)
    except GptModelError as error:
        _fail(str(error), 2)
    except TyperException as error:
        hint = "; see --help" if error.exit_code == 2 else ""
        _fail(error.format_message().rstrip(".") + hint, 2)
    except typer.Abort:
        sys.exit(1)
    except Interrupted as stop:
        _fail(str(stop), stop.exit_status)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # nobody reads; do not complain at exit
        sys.exit(1)
    except OSError as error:
        if error.errno not in MENDABLE:
            raise
        name = error.filename2 or error.filename  # of a rename, the name that was to be
        where = f"{name}: " if name else ""
        _fail(f"{where}{error.strerror}; {MENDABLE[error.errno]}, then run the same command again: nothing is lost", 2)


def _terminate(signum: int, _frame: object) -> None:
    raise Interrupted(signum, f"stopped by {signal.Signals(signum).name}")


def _fail(message: str, status: int) -> None:
    typer.echo(f"error: {' '.join(message.split())}" if status == 2 else " ".join(message.split()), err=True)
    sys.exit(status)

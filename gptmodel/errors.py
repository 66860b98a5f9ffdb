"""The errors a user can cause or mend: each is shown as one line, without a traceback (exit status 2)."""


class GptModelError(Exception):
    """Base of all errors whose message names what is wrong and what to do about it."""


class ConfigError(GptModelError):
    """A params file, an override or a combination of settings is wrong."""


class DataError(GptModelError):
    """A text, a token file, a tokenizer file or a prompt is wrong."""


class EncodingError(DataError):
    """A text is not UTF-8."""


class CheckpointError(GptModelError):
    """A model file is damaged, foreign or does not fit the data it is used with."""


class TrainingError(GptModelError):
    """Training cannot go on, by the numbers and not by a fault of the code."""


class AlreadyRunning(TrainingError):
    """Another process trains the same at this moment."""


class StudyError(GptModelError):
    """A study cannot be read or written, or is not about what is here."""


class ExportError(GptModelError):
    """A model cannot be written in the form of another program, or does not compute the same there."""


class CompileError(TrainingError):
    """The model does not compile, although a compiler was found."""


class CommonError(TrainingError):
    """All processes of a training raise it, at the same iteration; the first of them tells it."""


PEER_LOST = 3
"""Exit status by which a process of a training tells the one that started it that it lost another; that ends with 2."""


class PeerError(GptModelError):
    """Another process of a training does not answer any more; what was wrong is told by that one."""


class Interrupted(Exception):
    """A run stopped by a signal after its state was saved; carries the exit status, 128 + signal number."""

    def __init__(self, signum: int, message: str) -> None:
        super().__init__(message)
        self.exit_status = 128 + signum


def is_out_of_memory(error: BaseException | None) -> bool:
    """Tell whether an error, or one that it came up in the handling of, is a failed allocation, by Python or a library.

    `torch.save` closes its archive then, and that fails with an error of its own. A library that cannot be loaded for
    want of memory counts too. A GptModelError says so in its own words already.
    """
    if error is None or isinstance(error, GptModelError):
        return False
    text, names = str(error).lower(), {kind.__name__ for kind in type(error).__mro__}
    by_library = "allocate memory" in text or "failed to map segment" in text
    return by_library or bool(names & {"MemoryError", "OutOfMemoryError"}) or is_out_of_memory(error.__context__)


REMOTE_LIBRARIES = {"s3fs", "aiobotocore", "boto3", "botocore", "psycopg"}
"""What only stores elsewhere need, and requirements-remote.txt brings."""


def missing_library(error: BaseException) -> str | None:
    """Say what to install where an error comes from the lack of such a library; None for any other error."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ModuleNotFoundError) and cause.name in REMOTE_LIBRARIES:
            return f"{cause.name} is not installed: `pip install -r requirements-remote.txt`"
        cause = cause.__cause__ or cause.__context__
    return None

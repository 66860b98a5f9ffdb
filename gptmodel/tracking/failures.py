"""Why a store could not be used, in one line without a password."""

import re
import sqlite3

from gptmodel.address import without_password
from gptmodel.errors import GptModelError, missing_library
from gptmodel.tracking.helper import shortage

DATABASE_FRAME = re.compile(r"^\([\w.]+Error\) |\(Background on this error at: \S+\)")
"""What is put around the words of a database."""


def plain(error: BaseException) -> str:
    """Return the cause of a failure in one line: the system's own words, where there are any."""
    if isinstance(error, GptModelError):
        return str(error)
    innermost = error
    while cause := innermost.__cause__ or innermost.__context__:
        innermost = cause
    if isinstance(innermost, TimeoutError):
        return "it did not answer in time"
    if isinstance(innermost, MemoryError | SystemError | ImportError) and (too_little := shortage()):
        return too_little
    if isinstance(innermost, MemoryError):
        return "its answer takes more memory than there is for it"
    if (missing := missing_library(error)) is not None:
        return missing
    if isinstance(innermost, OSError) and innermost.strerror:
        text = f"{innermost.strerror}{f': {innermost.filename}' if innermost.filename else ''}"
    else:
        text = str(innermost if isinstance(innermost, OSError | sqlite3.Error) else error)
    line = " ".join(without_password(DATABASE_FRAME.sub("", text)).split()) or type(error).__name__
    return line if len(line) <= 200 else f"{line[:197]}..."

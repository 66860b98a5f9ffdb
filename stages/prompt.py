"""Where a prompt comes from: an option, a file, standard input, or the params file."""

import sys
from pathlib import Path

from gptmodel.errors import ConfigError, DataError


def read_prompt(default: str | None, prompt: str | None, prompt_file: Path | None) -> str | None:
    """Return the prompt of the options, or the default where none is given; ConfigError or DataError if it is wrong."""
    if prompt is not None and prompt_file is not None:
        raise ConfigError("--prompt and --prompt-file: give one of them")
    if prompt_file is not None:
        try:
            content = sys.stdin.buffer.read() if str(prompt_file) == "-" else prompt_file.read_bytes()
            prompt = content.decode()
        except OSError as error:
            raise DataError(f"--prompt-file {prompt_file}: cannot be read: {error.strerror}") from None
        except UnicodeDecodeError as error:
            raise DataError(f"--prompt-file {prompt_file}: not UTF-8 at byte {error.start}") from None
    if prompt == "":
        raise DataError("the prompt is empty: give at least one character, such as --prompt 'O '")
    return default if prompt is None else prompt

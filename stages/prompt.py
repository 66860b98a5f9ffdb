"""Where a prompt comes from, an option, a file, standard input or the params file, and how a model takes it."""

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gptmodel.errors import ConfigError, DataError

if TYPE_CHECKING:
    from gptmodel.config import SampleParams
    from gptmodel.tokenizers.base import Tokenizer

MARK = "\ufeff"
ESCAPES = {r"\n": "a line end", r"\r": "a carriage return", r"\t": "a tab"}

PromptArgument = Annotated[
    str | None, typer.Argument(metavar="PROMPT", help="Text to continue, as with --prompt.", show_default=False)
]
PromptOption = Annotated[str | None, typer.Option("--prompt", metavar="TEXT", help="Replaces sample.prompt.")]
PromptFileOption = Annotated[
    Path | None,
    typer.Option("--prompt-file", metavar="FILE", help="Read the prompt from a file; - is standard input."),
]


def read_prompt(
    default: str | None, word: str | None, prompt: str | None, prompt_file: Path | None
) -> str | bytes | None:
    """Return the prompt of the command line, the bytes of a file, or the default; ConfigError or DataError if wrong."""
    ways = {"the prompt": word, "--prompt": prompt, "--prompt-file": prompt_file}
    used = [name for name, value in ways.items() if value is not None]
    if len(used) > 1:
        raise ConfigError(f"{' and '.join(used)}: give only one of them")
    content: str | bytes | None = word if prompt is None else prompt
    if prompt_file is not None:
        try:
            content = sys.stdin.buffer.read() if str(prompt_file) == "-" else prompt_file.read_bytes()
        except OSError as error:
            raise DataError(f"--prompt-file {prompt_file}: cannot be read: {error.strerror}") from None
    if content is None:
        return default
    if not content:
        raise DataError("the prompt is empty: give at least one character, such as --prompt 'O '")
    return content


def prompt_text(
    prompt: str | bytes | None, prompt_file: Path | None, tokenizer: "Tokenizer", params: "SampleParams"
) -> str | None:
    """Return a prompt as the tokenizer takes it; DataError for a file that is no text to it, and for escapes.

    A file is read as the text was: byte for byte where bytes are the units; else as UTF-8, without a byte order mark,
    and with the line ends that the model knows.
    """
    from gptmodel.tokenizers.base import can_encode

    if isinstance(prompt, bytes):
        if tokenizer.unit == "byte":
            return prompt.decode("utf-8", "surrogateescape")
        try:
            text = prompt.decode().removeprefix(MARK)
        except UnicodeDecodeError as error:
            raise DataError(f"--prompt-file {prompt_file}: not UTF-8 at byte {error.start}") from None
        return text if can_encode(tokenizer, "\r") else text.replace("\r\n", "\n")
    match = re.search("|".join(map(re.escape, ESCAPES)), prompt or "")
    if match and params.on_unknown == "error" and not can_encode(tokenizer, "\\"):
        escape = match[0]
        raise DataError(
            f"the prompt holds a backslash and {escape[1]!r}, and the model knows no backslash; {ESCAPES[escape]} is "
            f"written --prompt $'...{escape}' in bash and \"...{escape}\" in params.yaml, or comes from --prompt-file"
        )
    try:
        tokenizer.encode(prompt or "", params.on_unknown)
    except DataError as error:
        raise DataError(f"{error}, or set sample.on_unknown to replace") from None
    return prompt

"""What a file is that should be UTF-8 and is not, as far as its first bytes tell, and the command that converts it."""

import codecs
import shlex
from pathlib import Path

MARKS = {  # UTF-32 first: one of its marks begins with one of UTF-16
    codecs.BOM_UTF32_LE: "UTF-32",
    codecs.BOM_UTF32_BE: "UTF-32",
    codecs.BOM_UTF16_LE: "UTF-16",
    codecs.BOM_UTF16_BE: "UTF-16",
}


def utf16_without_mark(content: bytes, least: float) -> str | None:
    """Return UTF-16LE or UTF-16BE where NULs are in every second place: in at least that share of them."""
    pairs = len(content) // 2
    even, odd = (content[offset : 2 * pairs : 2].count(0) for offset in (0, 1))
    if max(even, odd) < max(1.0, least * pairs) or min(even, odd) > max(even, odd) / 10:
        return None
    return "UTF-16LE" if odd > even else "UTF-16BE"


def conversion(path: Path, encoding: str) -> str:
    """Return the command that makes the file UTF-8."""
    text, converted = shlex.quote(str(path)), shlex.quote(f"{path}.utf8")
    return f"`iconv -f {encoding} -t UTF-8 {text} > {converted} && mv {converted} {text}`"


def likely_encoding(path: Path, content: bytes) -> str:
    """Return what a file that is not UTF-8 probably is, from its first bytes, with the command that converts it."""
    mark = next((name for mark, name in MARKS.items() if content.startswith(mark)), None)
    if mark is not None:
        return f"its byte order mark says {mark}; convert it with {conversion(path, mark)}"
    wide = utf16_without_mark(content, 0.05)  # one character in 20 is a space, whatever the script
    if wide is not None:
        return f"it is probably {wide}; convert it with {conversion(path, wide)}"
    if 0 in content:
        return "it does not look like text, since it holds NUL bytes; set prepare.tokenizer to byte to train on bytes"
    try:
        prefix = content.decode()
    except UnicodeDecodeError as error:
        prefix = content[: error.start].decode()
    if not prefix.isascii():  # other encodings hardly ever look like UTF-8
        return "the text before that is UTF-8, so the file is damaged there; repair that place"
    return f"it is probably Windows-1252 or Latin-1; convert it with {conversion(path, 'WINDOWS-1252')}"

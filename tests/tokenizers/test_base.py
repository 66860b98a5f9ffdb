from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gptmodel.errors import DataError
from gptmodel.tokenizers.base import decoded


def pieces(content: bytes, length: int) -> Iterator[bytes]:
    return (content[start : start + length] for start in range(0, len(content), length))


@given(
    st.binary(max_size=40) | st.text(max_size=20).map(lambda text: text.encode("utf-8", "replace")), st.integers(1, 8)
)
def test_bytes_that_are_not_utf8_are_found_as_python_finds_them(content: bytes, length: int) -> None:
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        with pytest.raises(DataError, match=rf"^not UTF-8 at byte {error.start} \(counted from 0\)$"):
            list(decoded(pieces(content, length)))
        with pytest.raises(DataError, match=f"byte {error.start + 3} "):
            list(decoded(pieces(content, length), 3))
    else:
        assert "".join(decoded(pieces(content, length))) == text

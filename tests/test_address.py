"""What may be shown of an address: all but what lets somebody in."""

import pytest

from gptmodel.address import without_password


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("https://user:secret@host/x", "https://host/x"),
        ("https://secret@host/x", "https://host/x"),
        ("https://:secret@host/x?a=b", "https://host/x?a=b"),
        ("https://user:sec@ret@host:80/x", "https://host:80/x"),
        ("https://user:sec/ret@host/x", "https://host/x"),
        ("https://user:sec@ret/sec@host/x", "https://host/x"),
        ("https://user:sec@ret?sec@host/x", "https://host/x"),
        ("https://user:secret@host/a@b", "https://b"),  # which could be the same kind
        ("https://user:secret@host/x and http://me@there", "https://host/x and http://there"),
        ("https://user:s%40secret@[::1]:80/x", "https://[::1]:80/x"),
        ("simplecache::ftp://user:secret@host/x", "simplecache::ftp://host/x"),
        ("postgresql://user:secret@host/db", "postgresql://host/db"),
        ("https://host/x?id=3&X-Amz-Signature=secret&b=1#c", "https://host/x?id=3&X-Amz-Signature=...&b=1#c"),
        ("https://host/x?pw=secret", "https://host/x?pw=..."),
        ("https://host/x?access_token=secret", "https://host/x?access_token=..."),
        ("cannot open https://user:secret@host/x: refused", "cannot open https://host/x: refused"),
    ],
)
def test_what_lets_somebody_in_is_left_out(address: str, shown: str) -> None:
    assert without_password(address) == shown


@pytest.mark.parametrize(
    "address",
    [
        "http://h:5000/a@b",
        "http://h:5000?user=a@b",
        "http://h/a:b@c",
        "http://[::1]:80/a@b",
        "http://[::1]/a@b",
        "sqlite:////home/me@work/mlflow.db",
        "texts//of@mine.txt",
        "shakespeare",
    ],
)
def test_what_holds_no_password_stays_as_it_is(address: str) -> None:
    assert without_password(address) == address

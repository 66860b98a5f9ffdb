"""The section `fetch` of params.yaml, whose checks know what an address is."""

import re
from shlex import quote
from typing import Self
from urllib.parse import urlsplit

from pydantic import field_validator, model_validator

from gptmodel.address import without_password
from gptmodel.section import Section, key


class FetchParams(Section):
    """Where the text comes from."""

    source: str = key(
        "shakespeare",
        "shakespeare, own (your text at data/input.txt), a URL, a file, a folder, or texts/*.txt",
        min_length=1,
    )
    sha256: str | None = key(None, "sha256 that the file at a path or URL has to have; a URL needs one")
    separator: str = key("\n\n", "text between two files of a folder, a pattern or a .zip")
    max_gb: float = key(10.0, "what fetch downloads or unpacks is refused above; 1 is 10^9 bytes", gt=0.0, le=1e9)

    @field_validator("separator")
    @classmethod
    def _is_text(cls, value: str) -> str:
        try:
            value.encode()
        except UnicodeEncodeError:
            raise ValueError("holds half of a character, which no text in UTF-8 can; leave it out") from None
        return value

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.sha256 is not None and not re.fullmatch("[0-9a-f]{64}", self.sha256):
            text = without_password(self.sha256)
            raise ValueError(f"fetch.sha256 = {text!r:.70}: has to be 64 digits, 0 to 9 and a to f")
        if "://" in self.source:
            try:
                urlsplit(self.source)
            except ValueError:  # its own words may show part of a password
                text = f"fetch.source = {without_password(self.source)!r}"
                raise ValueError(f"{text}: is no address; write it as a browser shows it") from None
        if "://" in self.source and self.sha256 is None:
            web = self.source.startswith(("http://", "https://"))
            url = quote(self.source) if without_password(self.source) == self.source else "URL"
            command = f"`curl -fsSL {url} | sha256sum`" if web else "`sha256sum FILE`, run on a copy,"
            raise ValueError(f"fetch.sha256 is null: a URL needs the sha256 of its file; {command} prints it")
        return self

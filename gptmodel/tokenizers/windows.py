"""A text of any length in parts that a tokenizer of words can take one by one: where they end changes no token."""

import re
from collections.abc import Iterable, Iterator

WINDOW = 1 << 16
"""Characters of a part, at most."""
LAST_WORD = re.compile(r".*\S(?=[ \t\n\r])", re.DOTALL)
"""All up to the last blank that follows something else. Python's \\S is never a blank to Rust."""


def windows(texts: Iterable[str]) -> Iterator[str]:
    """Yield a text, which comes in parts cut anywhere, in parts that are a function of the whole text alone.

    Each ends before the last blank that follows something else, where no piece of GPT-2's pattern goes across, and
    nothing of the pattern looks back. In WINDOW characters without such a place it ends behind the last of them.
    """
    pending = ""
    for text in texts:
        pending += text
        while len(pending) > WINDOW:
            word = LAST_WORD.match(pending, 0, WINDOW + 1)
            end = word.end() if word else WINDOW
            yield pending[:end]
            pending = pending[end:]
    if pending:
        yield pending

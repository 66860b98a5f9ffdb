"""A text that grows token by token, up to the first of some stop strings; what could begin one is held back."""

from bisect import bisect_right
from collections.abc import Sequence

from gptmodel.tokenizers.base import Tokenizer


class GrowingText:
    """What follows a prompt: tokens go in one by one, and text that can be shown comes out.

    The pieces, joined, end before the stop that is complete first (of those complete at the same character, before the
    longest). A stop may begin in one token and end in another. The prompt has no part in a stop.
    """

    def __init__(self, tokenizer: Tokenizer, prompt: Sequence[int], stops: Sequence[str] = ()) -> None:
        self._stream, self._stops = tokenizer.stream(), stops
        self.prompt = "".join(map(self._stream.push, prompt))
        """The text of the prompt's ids; the first bytes of a character come with what completes it."""
        self.stopped = False
        self._held = ""  # complete characters that may begin a stop
        self._length = 0  # characters of all tokens so far
        self._ends: list[int] = []  # of each token whose characters are complete: how many there are up to their end
        self.begins: list[int] = []
        """Of each token whose characters are complete: how many there are before the first of them."""
        self._tokens = 0
        self._shown = 0

    @property
    def tokens_shown(self) -> int:
        """How many tokens have come out whole: those behind a stop's beginning never do."""
        return bisect_right(self._ends, self._shown)

    def push(self, token: int) -> str:
        """Take a token id and return what can be shown now; "" for each after the stop."""
        if self.stopped:
            return ""
        self._tokens += 1
        return self._next(self._stream.push(token), last=False)

    def finish(self) -> str:
        """Return what is left when no token comes any more."""
        return "" if self.stopped else self._next(self._stream.finish(), last=True)

    def _next(self, piece: str, *, last: bool) -> str:
        if piece or last:  # the characters of all tokens so far are complete
            new = self._tokens - len(self._ends)
            self.begins += [self._length] * new
            self._length += len(piece)
            self._ends += [self._length] * new
        text = self._held + piece
        end = self._first_stop(text)
        if end is not None:
            self.stopped = True
            text, self._held = text[:end], ""
        else:
            cut = len(text) - (0 if last else self._possible_stop(text))
            text, self._held = text[:cut], text[cut:]
        self._shown += len(text)
        return text

    def _first_stop(self, text: str) -> int | None:
        """Return where the stop that is complete first begins."""
        places = [(text.find(stop), len(stop)) for stop in self._stops]
        completed = [(start + length, start) for start, length in places if start >= 0]
        return min(completed)[1] if completed else None

    def _possible_stop(self, text: str) -> int:
        """Return the length of the longest end of a text that a stop begins with."""
        longest = max((min(len(stop) - 1, len(text)) for stop in self._stops), default=0)
        lengths = range(longest, 0, -1)
        return next((n for n in lengths if any(stop.startswith(text[-n:]) for stop in self._stops)), 0)

"""Which characters a text has, in memory and time that do not grow with how many these are."""

import numpy as np
from numpy.typing import NDArray

CODE_POINTS = 0x110000
PAIRS = 1 << 16


class Characters:
    """The distinct characters of a text that is shown part by part."""

    def __init__(self) -> None:
        self._present = np.zeros(CODE_POINTS, dtype=np.bool_)
        self._pairs = np.zeros(PAIRS, dtype=np.bool_)

    def add(self, text: str) -> int:
        """Take note of a part, and return its length.

        Looking is faster than setting, and most parts hold nothing new.
        """
        if text.isascii():
            pairs = byte_pairs(text)
            if not (known := self._pairs.take(pairs)).all():
                new = pairs[~known]
                self._pairs[new] = True
                self._present[new.view(np.uint8)] = True
        else:
            points = np.frombuffer(text.encode("utf-32-le"), dtype="<u4")
            if not self._present.take(points).all():
                self._present[points] = True
        return len(text)

    def sorted(self) -> str:
        """Return them by their code points."""
        return np.flatnonzero(self._present).astype("<u4").tobytes().decode("utf-32-le")


def byte_pairs(text: str) -> NDArray[np.uint16]:
    """Return the characters of an ASCII text in twos, as 16 bits each; of an odd number the last one comes twice.

    Two at a time are looked up in the time of one, and numpy lets other threads work meanwhile: `bytes.translate` does
    not, and a thread that digests the same text would wait for it.
    """
    return np.frombuffer((text + text[-1:] if len(text) % 2 else text).encode("ascii"), dtype="<u2")

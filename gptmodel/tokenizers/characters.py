"""Which characters a text has, in memory and time that do not grow with how many these are."""

import numpy as np

ASCII = 128
CODE_POINTS = 0x110000


class Characters:
    """The distinct characters of a text that is shown part by part."""

    def __init__(self) -> None:
        self._present = np.zeros(CODE_POINTS, dtype=np.bool_)
        self._ascii = b""

    def add(self, text: str) -> int:
        """Take note of a part, and return its length."""
        if text.isascii():
            new = text.encode("ascii").translate(None, self._ascii)  # nothing is left of most parts
            if new:
                self._present[np.frombuffer(new, dtype=np.uint8)] = True
                self._ascii = np.flatnonzero(self._present[:ASCII]).astype(np.uint8).tobytes()
        else:
            points = np.frombuffer(text.encode("utf-32-le"), dtype="<u4")
            if not self._present.take(points).all():  # looking is faster than setting, and most hold nothing new
                self._present[points] = True
        return len(text)

    def sorted(self) -> str:
        """Return them by their code points."""
        return np.flatnonzero(self._present).astype("<u4").tobytes().decode("utf-32-le")

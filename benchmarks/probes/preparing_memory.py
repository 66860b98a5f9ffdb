"""Prepare a text: `python -m benchmarks.probes.preparing_memory TEXT FOLDER`.

The last line that it prints is the peak of its memory in bytes, first after the imports and then at the end.
"""

import sys
from pathlib import Path

from benchmarks.probes.resident import peak_bytes
from gptmodel.data.corpus import prepare
from gptmodel.prepare_params import PrepareParams


def main(text: str, folder: str) -> None:
    """Prepare and print the peaks."""
    imported = peak_bytes()
    prepare(Path(text), Path(folder), PrepareParams.model_validate(PrepareParams.defaults()))
    print(imported, peak_bytes())


if __name__ == "__main__":
    main(*sys.argv[1:])

"""Which of the processes of a training this one is: those after the first say nothing but why they failed."""

import os


def rank() -> int:
    """Return the number of this process, from 0; 0 where it trains alone."""
    return int(os.environ["RANK"]) if "TORCHELASTIC_RUN_ID" in os.environ else 0

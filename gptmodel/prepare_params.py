"""The section `prepare` of params.yaml."""

from typing import Literal, Self

from pydantic import model_validator

from gptmodel.section import Section, key


class PrepareParams(Section):
    """How the text becomes token ids."""

    tokenizer: Literal["char", "byte", "bpe", "gpt2"] = key(
        "char", "tokens are characters, bytes, learnt words and parts, or GPT-2's"
    )
    vocab_size: int | None = key(None, "size of a bpe vocabulary; 4096 is usual; null for others", ge=257, le=2**16)
    train_fraction: float = key(
        0.9, "share of the text to train on, counted from its start; the rest validates", gt=0.0, lt=1.0
    )
    val_source: str | None = key(
        None, "file with another text to validate on; then all but the test part trains; null = none", min_length=1
    )
    test_fraction: float = key(
        0.0, "share of the text, at its end, that only `gptmodel evaluate --test` reads; 0 = none", ge=0.0, lt=1.0
    )

    @model_validator(mode="after")
    def _check_split(self) -> Self:
        if self.val_source is None and self.train_fraction + self.test_fraction >= 1.0:
            nothing_left = f"nothing is left to validate with prepare.train_fraction = {self.train_fraction}"
            raise ValueError(f"prepare.test_fraction = {self.test_fraction}: {nothing_left}; lower one of them")
        if self.val_source is not None and "://" in self.val_source:
            raise ValueError("prepare.val_source: has to be a path; put that text into a file, and name the file")
        return self

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.tokenizer == "bpe" and self.vocab_size is None:
            raise ValueError("prepare.vocab_size is null: tokenizer bpe needs it; usual is -S prepare.vocab_size=4096")
        if self.tokenizer != "bpe" and self.vocab_size is not None:
            text = f"prepare.vocab_size = {self.vocab_size}: is for prepare.tokenizer = bpe, not {self.tokenizer}"
            raise ValueError(f"{text}; set it to null")
        return self

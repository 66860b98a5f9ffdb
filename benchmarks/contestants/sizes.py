"""The sizes of what is compared."""

from dataclasses import dataclass

VOCAB = 65  # of Tiny Shakespeare


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """The sizes of a model and a batch."""

    n_layer: int
    n_head: int
    n_embd: int
    block_size: int
    batch_size: int
    vocab: int = VOCAB
    dropout: float = 0.0
    like_nanogpt: bool = False  # pre-norm, GELU and clipped gradients; otherwise the tutorial's post-norm and ReLU

    def __str__(self) -> str:
        return (
            f"{self.n_layer} layers of {self.n_embd}, {self.n_head} heads, block {self.block_size}, "
            f"batch {self.batch_size}"
        )


SIZES = {
    "tutorial": Sizes(n_layer=4, n_head=4, n_embd=64, block_size=32, batch_size=16),
    "nanogpt": Sizes(n_layer=4, n_head=4, n_embd=128, block_size=64, batch_size=12, like_nanogpt=True),
}
ALL_SIZES = {
    **SIZES,
    "larger": Sizes(n_layer=6, n_head=6, n_embd=384, block_size=256, batch_size=8, like_nanogpt=True),
}
"""The sizes at which memory is measured."""

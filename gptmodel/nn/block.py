"""A transformer block: attention and feed-forward, each with its residual connection and layer normalisation."""

from collections.abc import Callable
from functools import partial

from torch import Tensor, nn

from gptmodel.config import TUTORIAL, Switches
from gptmodel.nn.attention import MultiHeadAttention
from gptmodel.nn.dropout import Dropout
from gptmodel.nn.fused import FusedMultiHeadAttention
from gptmodel.nn.kernels import relu2, rms_norm


class ReLU2(nn.Module):
    """ReLU squared (So et al. 2021, Primer)."""

    def forward(self, x: Tensor) -> Tensor:
        return relu2(x)


class RMSNorm(nn.RMSNorm):
    """Root mean square layer normalisation (Zhang and Sennrich 2019)."""

    def forward(self, x: Tensor) -> Tensor:
        return rms_norm(x, self.weight)


ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": partial(nn.ReLU, inplace=True),  # no other looks at what goes in
    "gelu": nn.GELU,
    "gelu_tanh": partial(nn.GELU, approximate="tanh"),  # as GPT-2 has it (Hendrycks and Gimpel 2016, section 2)
    "relu2": ReLU2,
}
NORMS: dict[str, type[nn.Module]] = {"layernorm": nn.LayerNorm, "rmsnorm": RMSNorm}


class FeedForward(nn.Module):
    """Linear up to four times the width, non-linearity, linear down, dropout (Vaswani et al. 2017, section 3.3)."""

    def __init__(self, n_embd: int, *, dropout: float = 0.0, switches: Switches = TUTORIAL) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(n_embd, 4 * n_embd),
            ACTIVATIONS[switches.activation](),
            nn.Linear(4 * n_embd, n_embd),
            Dropout(dropout),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map x (B, T, C) to (B, T, C), each position by itself."""
        return self.net(x)


class Block(nn.Module):
    """Attention, then feed-forward. The switch `norm` post normalises each sum, as the tutorial does; pre each input.

    Pre-norm keeps the residual path free (Xiong et al. 2020). `norm_type` is layernorm (Ba et al. 2016) or rmsnorm
    (Zhang and Sennrich 2019). `fused` takes the fast twin of the attention.
    """

    def __init__(
        self,
        n_embd: int,
        n_head: int,
        dropout: float,
        block_size: int,
        *,
        switches: Switches = TUTORIAL,
        fused: bool = True,
    ) -> None:
        super().__init__()
        attention = FusedMultiHeadAttention if fused else MultiHeadAttention
        self.sa = attention(n_head, n_embd // n_head, block_size=block_size, dropout=dropout, switches=switches)
        self.ffwd = FeedForward(n_embd, dropout=dropout, switches=switches)
        self.ln1 = NORMS[switches.norm_type](n_embd)
        self.ln2 = NORMS[switches.norm_type](n_embd)
        self.pre = switches.norm == "pre"

    def forward(self, x: Tensor) -> Tensor:
        """Map x (B, T, C) to (B, T, C)."""
        if self.pre:
            x = x + self.sa(self.ln1(x))
            return x + self.ffwd(self.ln2(x))
        x = self.ln1(x + self.sa(x))
        return self.ln2(x + self.ffwd(x))

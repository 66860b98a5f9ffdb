"""AdamW on its short way: the same bits as torch's own, before and after its state was saved."""

import copy

import torch
from torch import Tensor, nn

from gptmodel.optim.adamw import AdamW

SHAPES = ((5, 7), (7,), (3, 2))


def weights_after(steps: int, kind: type[torch.optim.AdamW], *, reload_at: int | None = None) -> list[Tensor]:
    """Weights in two groups after steps along the same gradients, the learning rate another one at each."""
    random = torch.Generator().manual_seed(1)
    weights = [nn.Parameter(torch.randn(shape, generator=random)) for shape in SHAPES]
    groups = [{"params": weights[:2], "weight_decay": 0.1}, {"params": weights[2:], "weight_decay": 0.0}]
    optimizer = kind(copy.copy(groups), lr=0.1, betas=(0.8, 0.95), fused=True)
    for number in range(steps):
        if number == reload_at:
            state = copy.deepcopy(optimizer.state_dict())
            optimizer = kind(groups, lr=0.1, betas=(0.8, 0.95), fused=True)
            optimizer.load_state_dict(state)
        for weight in weights:
            weight.grad = torch.randn(weight.shape, generator=random)
        for group in optimizer.param_groups:
            group["lr"] = 0.1 / (1 + number)
        optimizer.step()
    counts = [optimizer.state[weight]["step"] for weight in weights]
    assert [count.item() for count in counts] == [steps] * len(weights)
    return [*weights, *(optimizer.state[weight][name] for weight in weights for name in ("exp_avg", "exp_avg_sq"))]


def test_the_bits_are_those_of_torchs_own() -> None:
    for reload_at in (None, 1, 4):
        own, torchs = weights_after(7, AdamW, reload_at=reload_at), weights_after(7, torch.optim.AdamW)
        assert all(torch.equal(a, b) for a, b in zip(own, torchs, strict=True))


def test_a_state_that_lacks_a_weight_is_completed_as_torch_does() -> None:
    steps = []
    for kind in (AdamW, torch.optim.AdamW):
        weights = [nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(3))]
        optimizer = kind(weights, lr=0.1, fused=True)
        for _ in range(2):
            for weight in weights:
                weight.grad = torch.ones_like(weight)
            optimizer.step()
            optimizer.state[weights[1]] = {}
        steps.append([weight.tolist() for weight in weights])
    assert steps[0] == steps[1]

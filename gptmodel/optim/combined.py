"""Several optimizers that share out a model's parameters among them, as one."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from gptmodel.compute.crew import ALONE, Crew
from gptmodel.optim.base import Optimizer


class Combined(Optimizer):
    """One set of groups, one state and one step, each group updated by the optimizer that it was made for.

    The threads of the crew take an optimizer each: put the one with the most work first.
    """

    def __init__(self, parts: Sequence[Optimizer], crew: Crew = ALONE) -> None:
        super().__init__([group for part in parts for group in part.param_groups], {})
        self.parts = parts
        self._crew = crew
        self._share()

    def _share(self) -> None:
        """Have the parts work on these groups and this state."""
        groups = iter(self.param_groups)
        for part in self.parts:
            part.state = self.state
            part.param_groups = [next(groups) for _ in part.param_groups]

    def kept(self, weight: Tensor) -> dict[str, Any]:
        groups = ((part, group) for part in self.parts for group in part.param_groups)
        return next(part.kept(weight) for part, group in groups if any(weight is p for p in group["params"]))

    def scratch(self) -> int:
        return sum(part.scratch() for part in self.parts)

    def step(self, closure: None = None) -> None:  # type: ignore[override]  # noqa: ARG002  # torch's signature
        """Update every parameter that has a gradient."""
        for part in self.parts:
            part.rate, part.found_inf = self.rate, self.found_inf
        self._crew.together([part.step for part in self.parts])

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Become what `state_dict` was taken of."""
        super().load_state_dict(state_dict)
        self._share()

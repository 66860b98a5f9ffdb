"""All that decides the result of a training, and the names that this gives: equal names, equal bytes."""

from dataclasses import dataclass
from typing import Any

from gptmodel.compute.place import Place
from gptmodel.config import Params
from gptmodel.data.prepared import PreparedData
from gptmodel.files import fingerprint
from gptmodel.project.inputs import code_digest
from gptmodel.training.initial import InitialModel

LENGTH = ("max_iters", "patience")
"""Settings that only decide how long a training is."""


@dataclass(frozen=True, kw_only=True)
class Decisive:
    """What decides a result, checked and found on this machine."""

    data: PreparedData
    params: Params
    place: Place
    initial: InitialModel | None
    """What the weights start from; None: from random numbers."""

    @property
    def train(self) -> dict[str, Any]:
        """The section `train`, with the sha256 of a file instead of its path."""
        sha256 = None if self.initial is None else self.initial.sha256
        return self.params.train.model_dump(mode="json") | {"init_from": sha256}

    def name(self) -> str:
        """Return the fingerprint of all of it."""
        return fingerprint(self._parts())

    def name_of_any_length(self) -> str:
        """Return the fingerprint of all but how long the training is."""
        train = {key: value for key, value in self.train.items() if key not in LENGTH}
        return fingerprint(self._parts() | {"train": train})

    def provenance(self) -> dict[str, Any]:
        """Return what model.pth says of its origin; nothing of it differs between two runs of the same inputs."""
        return {"data": self.data.digests(), "platform": self.place.fingerprint, "train": self.train}

    def _parts(self) -> dict[str, Any]:
        return {
            **self.provenance(),
            "model": self.params.model.model_dump(mode="json"),
            "code": code_digest("train"),
        }

"""Whether a rebuild runs on another platform than that of the lock, which can explain other bytes.

There the same code, data and settings add numbers in another order: other bytes, and nearly the same losses.
"""

from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path

from gptmodel.errors import GptModelError
from gptmodel.project.lock import Entry, measure
from gptmodel.proof.checkout import Checkout
from gptmodel.proof.result import Explanation
from gptmodel.proof.supply import place


class ModelPlatform:
    """Where the locked model was trained and where the rebuilt one was; compared when an out first has other bytes."""

    def __init__(self, checkout: Checkout) -> None:
        self.checkout = checkout
        self.explanations: list[Explanation] = []
        """What the comparison says; nothing before it is made."""

    @cached_property
    def difference(self) -> str:
        """In what the platform here is another than that of the locked model; empty if in nothing that is known."""
        outs = [item for locked in self.checkout.lock.values() for item in locked.outs.items()]
        return next((self._compare(path, entry) for path, entry in outs if path.endswith(".pth")), "")

    def _compare(self, path: str, entry: Entry) -> str:
        tree, root = self.checkout.tree, self.checkout.revision.root
        beside = tree.parent / "locked.pth"
        placed = place(self.checkout, path, entry.md5, beside)
        rebuilt = measure(tree / path)
        is_new = rebuilt is not None and rebuilt.md5 != entry.md5
        try:
            locked = platform_of(beside if placed else root / path)
            here = platform_of(tree / path) if is_new else _as_here(locked)
        except (GptModelError, KeyError) as error:
            text = f"{path}: the platform of the locked model is not known: {error}"
            self.explanations.append(Explanation(text))
            return ""
        difference = another_machine(locked, here) if placed else ""
        if is_new or locked != here:
            locked_name = "the locked model" if placed else "the workspace's model"
            rebuilt_name = "the rebuilt one" if is_new else "this machine"
            lines = explained(path, {locked_name: locked, rebuilt_name: here})
            self.explanations += [Explanation(line, difference) for line in lines]
        return difference


def platform_of(model: Path) -> dict[str, str]:
    """Return where a model was trained, by its own word; GptModelError or KeyError when it cannot be told."""
    from gptmodel.checkpoint.model_file import load_model

    platform = load_model(model).provenance["platform"]
    return {str(key): str(value) for key, value in platform.items()}


def _as_here(platform: dict[str, str]) -> dict[str, str]:
    """Return a fingerprint as it were if that training computed on this machine."""
    from gptmodel.compute.place import of_this_machine

    return {**platform, **of_this_machine(platform)}


def explained(path: str, platforms: Mapping[str, Mapping[str, str]]) -> Iterator[str]:
    """Yield lines that say where the locked and the rebuilt model were trained, and what that explains."""
    for name, platform in platforms.items():
        yield f"{path}: {name}: {', '.join(f'{key} {value}' for key, value in platform.items())}"
    if difference := _difference(*platforms.values()):
        yield f"{path}: this explains why the bytes differ: {difference}"
    else:
        yield f"{path}: both were trained on the same platform, so code, data or settings differ"


def another_machine(locked: Mapping[str, str], here: Mapping[str, str]) -> str:
    """Return in what two platforms differ; nothing if in the threads too, which are a setting and excuse nothing."""
    return _difference(locked, here) if locked.get("threads") == here.get("threads") else ""


def _difference(locked: Mapping[str, str], here: Mapping[str, str]) -> str:
    keys = [key for key in {**locked, **here} if locked.get(key) != here.get(key)]
    return ", ".join(f"{key} {locked.get(key, 'unknown')} there, {here.get(key, 'unknown')} here" for key in keys)

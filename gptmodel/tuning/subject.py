"""What all trials of a study share: code, data and settings. Trials of different ones cannot be compared."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from gptmodel.config import Params
from gptmodel.tuning.search import SEARCHED, Search
from gptmodel.wrong_settings import shown


@dataclass(frozen=True, kw_only=True)
class Subject:
    """What is here."""

    code: str
    """Digest of the code that decides a training."""
    commit: str
    """Where that code is, for readers."""
    data: Mapping[str, str]
    """Digests of data/prepared."""
    settings: Mapping[str, Any]
    """What all trials share."""

    @classmethod
    def of(cls, search: Search, base: Params, data: Mapping[str, str], code: str, commit: str) -> "Subject":
        """Return what a search in this project is about."""
        settings = {
            f"{section}.{key}": value
            for section in SEARCHED
            for key, value in getattr(base, section).model_dump(mode="json").items()
            if f"{section}.{key}" not in search.space
        }
        return cls(code=code, commit=commit, data=data, settings=settings)

    def described(self) -> dict[str, Any]:
        """Return it as plain values, which a database keeps."""
        return asdict(self)

    def difference(self, stored: Any) -> str | None:
        """Return how a stored one differs, and what to do; None if it does not."""
        own = self.described()
        if not isinstance(stored, Mapping) or stored.keys() != own.keys():
            return "was begun by another version of gptmodel; use that one"
        if stored["settings"] != own["settings"]:
            key = first_difference(stored["settings"], own["settings"])
            values = shown(stored["settings"].get(key)), shown(own["settings"].get(key))
            return f"was begun with {key} = {values[0]}, and params.yaml has {values[1]}; set it back"
        if stored["data"] != own["data"]:
            return "was begun with other data, and data/prepared differs; prepare the same text (`dvc repro prepare`)"
        if stored["code"] != own["code"]:
            commits = stored["commit"], own["commit"]
            return f"was begun with the code of {commits[0]}, and here is that of {commits[1]}; check that one out"
        return None


def first_difference(stored: Mapping[str, Any], own: Mapping[str, Any]) -> str:
    """Return the first key whose values differ."""
    return next(key for key in [*own, *stored] if stored.get(key) != own.get(key))

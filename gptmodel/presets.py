"""The presets, as differences from the defaults of gptmodel.config, and the form of a params file on the disk.

`python -m gptmodel.presets` writes presets/*.yaml whole. In params.yaml, which is the user's, it writes the words
anew and the keys that are missing, and keeps every value. DVC rewrites a params file whenever it changes a setting
(`dvc exp run -S`): a file made here is in the form that DVC gives it, so that only what was changed differs.
"""

import sys
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gptmodel.config import SECTIONS, TUTORIAL
from gptmodel.errors import ConfigError, GptModelError
from gptmodel.files import atomic_write
from gptmodel.params_file import checked, default_values, read_params
from gptmodel.project import dvc_yaml
from gptmodel.section import described

COLUMN = 27
"""Where the words of a key begin."""
WORDS = (
    "The settings of the pipeline. The defaults are the tutorial's, with two differences: learned positions and AdamW "
    "(presets/tutorial.yaml has neither). presets/ holds complete files for other purposes."
)
MANNERS = (
    "Every key is required; a key without a value is null. Change a key by editing params.yaml, or with "
    "`dvc exp run -S section.key=value`, which writes it to params.yaml and runs the pipeline."
)


@dataclass(frozen=True)
class Preset:
    """What a preset is for, and where it differs from the defaults."""

    words: str
    parameters: int = 0
    """With the 78 characters of the default text."""
    megabytes: int = 0
    """Of model.pth, for the default text: weights in float32, and counts of n-grams if it has any."""
    model: Mapping[str, Any] = field(default_factory=dict)
    train: Mapping[str, Any] = field(default_factory=dict)

    def values(self) -> dict[str, dict[str, Any]]:
        """Return every section of the preset, whole."""
        values = default_values()
        values["model"].update(self.model)
        values["train"].update(self.train)
        return values


LAPTOP = Preset(
    "Three layers with Muon, tables of n-grams and counts mixed into predictions. Trains in two minutes on two "
    "cores (docs/LOG.md).",
    parameters=51_743_182,
    megabytes=245,
    model={
        "block_size": 128,
        "n_embd": 128,
        "n_layer": 3,
        "norm": "pre",
        "norm_type": "rmsnorm",
        "position": "rotary",
        "activation": "relu2",
        "qk_norm": True,
        "zero_init": True,
        "logit_softcap": 15.0,
        "scale_embedding": False,
        "ngram_orders": [2, 3, 4, 5],
        "ngram_dropout": 0.3,
        "kneser_ney": 9,
        "kneser_ney_share": 0.35,
    },
    train={
        "max_iters": 1000,
        "eval_interval": 50,
        "eval_iters": 5,
        "optimizer": "muon",
        "learning_rate": 3e-3,
        "lr_schedule": "linear",
        "weight_decay": 0.0,
        "ngram_lr": 3e-3,
        "ngram_floor": 1.0,
        "muon_lr": 0.02,
        "muon_momentum": 0.95,
        "beta2": 0.99,
        "parts": 2,
    },
)
WIDER = {**LAPTOP.model, "block_size": 256, "n_embd": 192, "n_head": 6, "n_layer": 4, "dropout": 0.1}
"""The sizes of `network` and `best`."""
PRESETS = {
    "tutorial": Preset(
        "The tutorial to the letter: no positions, plain SGD. Its final loss is still near that of counting pairs.",
        parameters=209_230,
        megabytes=1,
        model=TUTORIAL.model_dump(mode="json"),
        train={"optimizer": "sgd", "weight_decay": 0.0, "beta1": None, "beta2": None},
    ),
    "nanogpt": Preset(
        "The sizes and settings that nanoGPT's README gives for a laptop's CPU: 4 layers of 128, block 64, 2000 "
        "iterations.",
        parameters=820_046,
        megabytes=3,
        model={"block_size": 64, "n_embd": 128, "norm": "pre", "activation": "gelu", "scale_embedding": False},
        train={
            "batch_size": 12,
            "max_iters": 2000,
            "eval_interval": 250,
            "eval_iters": 20,
            "lr_schedule": "cosine",
            "min_lr": 1e-4,
            "warmup_iters": 100,
            "weight_decay": 0.1,
            "beta2": 0.99,
            "grad_clip": 1.0,
            "parts": 2,
        },
    ),
    "laptop": LAPTOP,
    "network": Preset(
        "Four layers of 192 without counts in the model: they only teach it. In bfloat16, and compiled. Trains in "
        "about five minutes on two cores that have instructions for bfloat16 (docs/LOG.md).",
        parameters=78_501_006,
        megabytes=314,
        model={**WIDER, "attention_dropout": 0.0, "kneser_ney": 0, "kneser_ney_share": 0.0},
        train={
            **LAPTOP.train,
            "batch_size": 8,
            "max_iters": 1400,
            "eval_interval": 280,
            "teacher_order": 6,
            "teacher_share": 0.3,
            "compile": True,
            "dtype": "bfloat16",
        },
    ),
    "best": Preset(
        "Four layers of 192 with dropout and weight decay, and counts mixed into predictions. Reaches the lowest loss. "
        "In bfloat16, and compiled. Trains in about a quarter of an hour on two cores that have instructions for "
        "bfloat16 (docs/LOG.md).",
        parameters=78_501_006,
        megabytes=352,
        model={**WIDER, "dropout": 0.2, "attention_dropout": 0.0, "ngram_dropout": 0.5, "kneser_ney_share": 0.3},
        train={
            **LAPTOP.train,
            "batch_size": 8,
            "max_iters": 4500,
            "eval_interval": 250,
            "weight_decay": 0.1,
            "compile": True,
            "dtype": "bfloat16",
        },
    ),
}


def params_text(words: str, values: Mapping[str, Mapping[str, Any]]) -> str:
    """Return a params file: `words` at its head, each section under its own, each key with its own beside it."""
    blocks = ["\n".join(_comment(text) for text in (words, MANNERS))]
    for name, section in SECTIONS.items():
        lines = [_comment(str(section.__doc__)), f"{name}:"]
        for key, inner in section.model_fields.items():
            lines += _entry(key, values[name][key], described(inner))
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks) + "\n"


def _entry(key: str, value: Any, words: str) -> list[str]:
    """Return the lines of a key as DVC writes them, with the words.

    A list has them above: ruamel.yaml writes no valid file when it empties a list whose words stand beside its key.
    """
    lines = dvc_yaml.dump({"section": {key: value}}).rstrip("\n").split("\n")[1:]
    if isinstance(value, list) or len(lines) > 1:
        return [f"  # {words}", *lines]
    return [f"{lines[0]:{COLUMN - 2}}  # {words}"]


def _comment(text: str) -> str:
    return textwrap.fill(text, 120, initial_indent="# ", subsequent_indent="# ")


def with_words(path: Path) -> str:
    """Return a params file with its own values, the defaults of keys that it lacks, and the words of today.

    Raises ConfigError for a file with a wrong value or an unknown key.
    """
    values = read_params(path)
    for name, section in SECTIONS.items():
        section_values = values.setdefault(name, {})
        if isinstance(section_values, dict):
            values[name] = section.defaults() | section_values
    checked(values, str(path))
    return params_text(WORDS, values)


def use(path: Path, name: str) -> dict[str, tuple[Any, Any]]:
    """Change `model` and `train` in a params file to a preset's, and keep all else: values, comments and lines.

    Returns each changed key with what it was and is. Raises ConfigError, with nothing written, for an unknown name and
    for a file that another fault is left in.
    """
    if name not in PRESETS:
        raise ConfigError(f"{name}: no such preset; there are {', '.join(PRESETS)}")
    before, values = read_params(path), PRESETS[name].values()
    former = {section: before.get(section, {}) for section in ("model", "train")}
    if not all(isinstance(keys, dict) for keys in former.values()):
        checked(before, str(path))  # which says so
    changes = {
        section: {key: value for key, value in values[section].items() if key not in keys or keys[key] != value}
        for section, keys in former.items()
    }
    text = dvc_yaml.changed(path.read_text(encoding="utf-8"), changes)
    checked(dvc_yaml.parse(text), str(path))
    atomic_write(path, text.encode())
    return {
        f"{section}.{key}": (former[section].get(key), value)
        for section, keys in changes.items()
        for key, value in keys.items()
    }


def write(root: Path) -> None:
    """Write params.yaml and presets/ below `root`."""
    files = {root / "params.yaml": with_words(root / "params.yaml")}
    for name, preset in PRESETS.items():
        files[root / "presets" / f"{name}.yaml"] = params_text(preset.words, preset.values())
    for path, text in files.items():
        atomic_write(path, text.encode())


if __name__ == "__main__":
    try:
        write(Path())
    except GptModelError as error:
        sys.exit(f"error: {error}")

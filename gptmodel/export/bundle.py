"""A trained model as a folder for other programs, with a certificate made from what was read back."""

import os
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import torch

from gptmodel.checkpoint.model_file import load_model
from gptmodel.errors import ConfigError, ExportError
from gptmodel.export import gguf_file, huggingface, onnx_file, safetensors_file
from gptmodel.export.certificate import Certificate, greedy_texts
from gptmodel.export.form import Form
from gptmodel.export.libraries import require
from gptmodel.files import digest, whole_folder, write_json
from gptmodel.language_model import LanguageModel

CERTIFICATE = "certificate.json"


FORMS = {
    "huggingface": huggingface.FORM,
    "safetensors": safetensors_file.FORM,
    "onnx": onnx_file.FORM,
    "gguf": gguf_file.FORM,
}
LIMIT = 1e-4
"""How far a log-probability may be from the model's own, and a logit as a share of the largest one."""


@dataclass(frozen=True)
class Bundle:
    """What was written."""

    kind: str
    bytes: int
    certificate: Certificate
    use: str


def export(model_file: Path, name: str, out: Path) -> Bundle:
    """Write a model file in a format to a folder that is not there yet, whole or not at all.

    Raises ExportError for a model that the format has no place for, for a library that is missing, and for a model that
    does not compute the same when it was read back; ConfigError for another format and a folder that cannot be made.
    """
    if name not in FORMS:
        raise ConfigError(f"{name}: no such format; there are {', '.join(FORMS)}")
    # nothing can take the place of a link, of a volume, or of the folder that the shell stands in
    is_fixed = out.is_symlink() or os.path.ismount(out) or (out.is_dir() and out.samefile(Path()))
    if os.path.lexists(out) and (is_fixed or not out.is_dir() or any(out.iterdir())):
        raise ConfigError(f"--out {out}: is there already; name a folder that is not, or move it away")
    with ExitStack() as stack:
        try:
            folder = stack.enter_context(whole_folder(out))
        except OSError as error:
            raise ConfigError(f"--out {out}: cannot be made: {error.strerror}; name another place") from None
        chosen, model = FORMS[name], load_model(model_file)
        kind = chosen.write(model, folder)
        files = {path.name: path for path in sorted(folder.iterdir())}
        certificate = certified(model, chosen, folder)
        content = {
            "format": name,
            "kind": kind,
            "libraries": require(("torch", *chosen.libraries)),
            "model_sha256": digest(model_file),
            "limit": LIMIT,
            **certificate.values(),
            "files": {file: digest(path) for file, path in files.items()},
        }
        write_json(folder / CERTIFICATE, content)
        size = sum(path.stat().st_size for path in files.values())
    return Bundle(kind, size, certificate, chosen.use.format(folder=out))


def certified(model: LanguageModel, chosen: Form, folder: Path) -> Certificate:
    """Compare a model with what was written of it, as read back; ExportError unless they compute the same."""
    idx, start = greedy_texts(model)
    exported, first = chosen.logits(folder, idx)
    with torch.inference_mode():
        own = (model.predict(text[None])[0] for text in idx)  # (T, V) each
        certificate = Certificate.of(chosen.compared, own, exported, first, start)
    if not certificate.within(LIMIT):
        limit = f"{LIMIT:.0e} of a log-probability, or of the largest logit"
        raise ExportError(f"as read back, {certificate.words()}: more than {limit}, so nothing was written")
    text = model.tokenizer.decode(idx.flatten().tolist())
    if chosen.token_ids is not None and chosen.token_ids(folder, text) != model.tokenizer.encode(text):
        raise ExportError("as read back, the tokenizer gives other token ids, so nothing was written")
    return certificate

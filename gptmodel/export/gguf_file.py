"""One file for llama.cpp. Of its architectures, Nemotron's holds a model of this project in float32.

llama.cpp computes GELU in half precision, 1e-3 off in a logit, and has no biases in what is otherwise Arcee's.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gptmodel.config import ModelParams
from gptmodel.errors import ExportError
from gptmodel.export import llama_cpp
from gptmodel.export.classes import LAYERNORM_EPS
from gptmodel.export.form import Form
from gptmodel.export.libraries import require
from gptmodel.export.stock import check_settings
from gptmodel.export.weights import ModelWeights, Weights, bias_fits, named, without_decoder_bias
from gptmodel.language_model import LanguageModel
from gptmodel.nn.embedding import ROTARY_BASE
from gptmodel.tokenizers.char import CharTokenizer

LIBRARIES = ("gguf", "xllamacpp")
ARCHITECTURE = "nemotron"
NEEDED = {"norm": "pre", "norm_type": "layernorm", "position": "rotary", "activation": "relu2"}
MODEL = "model.gguf"
NORMAL_TOKEN = 1
KINDS = ("char", "byte")
"""Tokenizers whose text is cut into the longest tokens there are."""
POSITIONS = 32
"""How many positions of a text are read back: each is a request."""
SECONDS = 600


def write(model: LanguageModel, folder: Path) -> str:
    """Write a model into an empty folder. ExportError for one that no architecture of llama.cpp holds."""
    params = model.params
    check_settings(params, "llama.cpp has no such part")
    if model.tokenizer.kind not in KINDS:
        raise ExportError(f"prepare.tokenizer = {model.tokenizer.kind}: llama.cpp has no such tokenizer; export onnx")
    if params.block_size == 1:
        raise ExportError("model.block_size = 1: llama.cpp reads no text of one token; export huggingface")
    if others := [
        f"model.{name} = {getattr(params, name)}" for name in NEEDED if getattr(params, name) != NEEDED[name]
    ]:
        needed = NEEDED | ({} if bias_fits(params, model.tokenizer.vocab_size) else {"decoder_bias": "false"})
        options = " ".join(f"-S model.{name}={value}" for name, value in needed.items())
        raise ExportError(
            f"{', '.join(others)}: llama.cpp computes the same only with {options}; export onnx or safetensors"
        )
    weights = _weights(params, ModelWeights(params, without_decoder_bias(params, model.transformer.state_dict())))
    require(LIBRARIES)
    from gguf import GGUFWriter

    writer = GGUFWriter(folder / MODEL, ARCHITECTURE)
    writer.add_context_length(params.block_size)
    writer.add_embedding_length(params.n_embd)
    writer.add_feed_forward_length(4 * params.n_embd)
    writer.add_block_count(params.n_layer)
    writer.add_head_count(params.n_head)
    writer.add_head_count_kv(params.n_head)
    writer.add_layer_norm_eps(LAYERNORM_EPS)
    writer.add_rope_dimension_count(params.n_embd // params.n_head)
    writer.add_rope_freq_base(ROTARY_BASE)
    _add_tokenizer(writer, model)
    for name, tensor in weights.items():
        writer.add_tensor(name, tensor.contiguous().numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return f"{ARCHITECTURE} for llama.cpp"


def _add_tokenizer(writer: Any, model: LanguageModel) -> None:
    """RWKV's vocabulary is any set of byte strings, of which a text takes the longest, and it has no special ids.

    The one that is called GPT-2's ends a text at id 11, whatever that is, where a model has no token for the end.
    """
    tokenizer = model.tokenizer
    tokens = [tokenizer.token_bytes(idx) for idx in range(tokenizer.vocab_size)]
    writer.add_tokenizer_model("rwkv")
    writer.add_token_list(["".join(f"\\x{byte:02x}" for byte in token) for token in tokens])
    writer.add_token_types([NORMAL_TOKEN] * len(tokens))
    writer.add_add_bos_token(False)
    if isinstance(tokenizer, CharTokenizer):
        writer.add_unk_token_id(tokenizer.unknown)


def _weights(params: ModelParams, model: ModelWeights) -> Weights:
    def layer(n: int) -> Weights:
        return {
            **named("attn_norm", model.module(f"blocks.{n}.ln1")),
            **named("attn_q", model.query(n)),
            **named("attn_k", model.key(n)),
            **named("attn_v", model.value(n)),
            **named("attn_output", model.module(f"blocks.{n}.sa.proj")),
            **named("ffn_norm", model.module(f"blocks.{n}.ln2")),
            **named("ffn_up", model.module(f"blocks.{n}.ffwd.net.0")),
            **named("ffn_down", model.module(f"blocks.{n}.ffwd.net.2")),
        }

    return {
        "token_embd.weight": model.embedding,
        **{f"blk.{n}.{name}": tensor for n in range(params.n_layer) for name, tensor in layer(n).items()},
        **named("output_norm", model.module("ln_f")),
        "output.weight": model.decoder,
    }


def logits(folder: Path, idx: Tensor) -> tuple[Tensor, int]:
    """Return the log-probabilities (B, n, V) of what follows the last positions of idx (B, T) but one."""
    first = max(0, idx.size(1) - 1 - POSITIONS)
    return torch.tensor(_answer(folder, idx.size(1), idx.tolist(), first, "")["rows"]), first


def token_ids(folder: Path, text: str) -> list[int]:
    """Return the ids of a text by llama.cpp."""
    ids: list[int] = _answer(folder, 2, [], 0, text)["ids"]
    return ids


def _answer(folder: Path, context: int, texts: list[list[int]], first: int, text: str) -> dict[str, Any]:
    """Return what a process of llama.cpp answers; ExportError where it gives no answer."""
    job = {"model": str(folder / MODEL), "context": context, "texts": texts, "first": first, "text": text}
    command = [sys.executable, "-P", llama_cpp.__file__]
    try:
        result = subprocess.run(
            command, input=json.dumps(job), capture_output=True, text=True, timeout=SECONDS, check=True
        )
    except subprocess.SubprocessError as error:
        raise ExportError(f"llama.cpp does not read what was written ({error}), so nothing was written") from error
    answer: dict[str, Any] = json.loads(result.stdout)
    return answer


USE = 'import xllamacpp as x; p = x.CommonParams(); p.model.path = "{folder}/model.gguf"; server = x.Server(p)'
FORM = Form(LIBRARIES, USE, write, logits, token_ids, "log-probabilities")

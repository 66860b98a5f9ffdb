"""The network as an ONNX graph, for any runtime: token ids (batch, time) in, logits (batch, time, vocabulary) out."""

import logging
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gptmodel.errors import ExportError
from gptmodel.export.form import Form
from gptmodel.export.libraries import require
from gptmodel.files import atomic_write
from gptmodel.language_model import LanguageModel
from gptmodel.tokenizers.kinds import save_tokenizer

LIBRARIES = ("onnx", "onnxscript", "onnxruntime")
MODEL, TOKENIZER = "model.onnx", "tokenizer.json"
LARGEST = 2 * 10**9
"""Bytes that a file of this kind can have: a limit of its format."""


def write(model: LanguageModel, folder: Path) -> str:
    """Write a model into an empty folder. ExportError for counts, which are no arithmetic of a graph."""
    if model.counts is not None:
        raise ExportError(
            f"model.kneser_ney = {model.params.kneser_ney}: counts cannot be a part of an ONNX graph; train with "
            "-S model.kneser_ney=0, or export safetensors"
        )
    if sum(weight.nbytes for weight in model.transformer.parameters()) > LARGEST:
        raise ExportError("the weights are more than the 2 GB that an ONNX file can hold; export safetensors")
    require(LIBRARIES)
    graph = _graph(model)
    for node in graph.graph.node:  # where in this machine's files each came from
        del node.metadata_props[:]
    atomic_write(folder / MODEL, graph.SerializeToString(deterministic=True))
    save_tokenizer(folder / TOKENIZER, model.tokenizer)
    return f"ONNX opset {graph.opset_import[0].version}"


def _graph(model: LanguageModel) -> Any:
    """Return the graph by torch's exporter, whose warnings are about other libraries and its own future."""
    example = torch.zeros(2, min(2, model.params.block_size), dtype=torch.int64)
    any_size = {0: torch.export.Dim.DYNAMIC, 1: torch.export.Dim.DYNAMIC}
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(action="ignore"):
            program = torch.onnx.export(
                model.transformer,
                (example,),
                dynamo=True,
                verbose=False,
                input_names=["input_ids"],
                output_names=["logits"],
                dynamic_shapes=(any_size,),
            )
    finally:
        logger.setLevel(level)
    assert program is not None
    return program.model_proto


def logits(folder: Path, idx: Tensor) -> tuple[Tensor, int]:
    """Return the logits (B, T, V) of idx (B, T), computed by ONNX Runtime on the CPU, from position 0 on."""
    import onnxruntime

    session = onnxruntime.InferenceSession(folder / MODEL, providers=["CPUExecutionProvider"])
    (result,) = session.run(None, {"input_ids": idx.numpy()})
    return torch.from_numpy(result), 0


USE = 'import onnxruntime; session = onnxruntime.InferenceSession("{folder}/model.onnx")'
FORM = Form(LIBRARIES, USE, write, logits)

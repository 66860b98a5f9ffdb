"""The report on a trained model: one page of what the pipeline found out, the same bytes for the same findings."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gptmodel.config import SECTIONS
from gptmodel.evaluation.diagnosis import ADVICE, advice, trend
from gptmodel.language_model import LanguageModel
from gptmodel.presets import PRESETS
from gptmodel.project.layout import Layout
from gptmodel.reporting.chart import Chart, bar, chart
from gptmodel.reporting.coloured import COPIED, SURPRISE, Piece, by_copies, by_surprise
from gptmodel.reporting.findings import Findings, as_written
from gptmodel.reporting.page import render
from gptmodel.reporting.settings import differing, settings_of

OURS = "this model"
MOST_SAMPLES, MOST_CHARACTERS = 10, 4000
"""What is shown of samples: a page of any settings stays below 500 kB."""
MOST_PASSAGES = 5
"""What is shown of the hardest passages, and of the easiest."""


def report(findings: Findings) -> str:
    """Return the page; DataError where a stage's file is not as that stage writes it."""
    model = findings.model
    samples, samples_left_out = _samples(findings)
    platform = model.provenance.get("platform")
    return render(
        "report.html",
        evaluation=findings.evaluation,
        outlook=_outlook(findings),
        repeated=findings.repeated,
        parameters=sum(parameter.numel() for parameter in model.transformer.parameters()),
        tokenizer=model.tokenizer,
        baselines=_baselines(findings),
        charts=_charts(findings),
        passages=_passages(findings),
        surprise=SURPRISE,
        copied=COPIED,
        memorisation=findings.memorisation,
        samples=samples,
        samples_left_out=samples_left_out,
        preset=_preset(model),
        settings=differing(_defaults(), settings_of(model)),
        platform=platform if isinstance(platform, Mapping) else {},
        digests=findings.digests,
    )


@as_written(Layout().metrics("evaluate"), "evaluate")
def _outlook(findings: Findings) -> str:
    """Return where the val loss was going and what to do next, as evaluate says it; "" where nothing can be said."""
    verdict, course = findings.evaluation.get("verdict"), trend(findings.history)
    if verdict not in ADVICE:
        return ""
    what_to_do = advice(verdict, course.direction if course else None)
    return f"{course.explanation}; {what_to_do}" if course else what_to_do


@dataclass(frozen=True)
class Row:
    """A method and its bits per byte of the val split."""

    name: str
    bits: float
    length: float
    """Of its bar, in per cent of the longest."""


@as_written(Layout().metrics("evaluate"), "evaluate")
def _baselines(findings: Findings) -> list[Row]:
    """Return the methods, the worst first, with the model among them; none without baselines."""
    if not findings.baselines:
        return []
    bits = {**findings.baselines, OURS: findings.evaluation["val"]["bits_per_byte"]}
    largest = max(bits.values())
    return [Row(name, value, bar(value, largest)) for name, value in sorted(bits.items(), key=lambda item: -item[1])]


def _charts(findings: Findings) -> list[Chart]:
    history, positions, charts = list(findings.history), findings.positions, []
    if len(history) > 2 and history[0].iteration == 0:
        del history[0]  # the loss before training is so high that the rest would be a level line
    if history:
        losses = {"train": [row.train_loss for row in history], "val": [row.val_loss for row in history]}
        charts.append(chart("Loss during training", "iteration", [row.iteration for row in history], losses))
    if positions:
        places = range(1, min(map(len, positions.values())) + 1)
        curves = {name: values[: len(places)] for name, values in positions.items()}
        charts.append(chart("Loss by position in the block", "tokens read before", places, curves))
    return charts


@as_written(Layout().passages, "evaluate")
def _passages(findings: Findings) -> dict[str, list[tuple[float, list[Piece]]]]:
    """Return the mean nats and the coloured text of passages, the hardest and the easiest."""
    passages = findings.passages or {}
    return {
        kind: [
            (sum(passage["nats"]) / len(passage["nats"]), by_surprise(passage["tokens"], passage["nats"]))
            for passage in passages[kind][:MOST_PASSAGES]
        ]
        for kind in ("hardest", "easiest")
        if passages.get(kind)
    }


@as_written(Layout().metrics("memorisation"), "sample")
def _samples(findings: Findings) -> tuple[list[list[Piece]], int]:
    """Return the samples that are shown, and how many are not."""
    texts = findings.memorisation["texts"]
    return [_sample(text) for text in texts[:MOST_SAMPLES]], max(0, len(texts) - MOST_SAMPLES)


def _sample(text: Mapping[str, Any]) -> list[Piece]:
    spans = [[start, min(end, MOST_CHARACTERS)] for start, end in text["copied"]]
    pieces = by_copies(text["text"][:MOST_CHARACTERS], spans)
    return [*pieces, Piece(" ...", "")] if len(text["text"]) > MOST_CHARACTERS else pieces


def _defaults() -> dict[str, Any]:
    sections = {name: SECTIONS[name].defaults() for name in ("model", "train")}
    settings = {f"{name}.{key}": value for name, values in sections.items() for key, value in values.items()}
    return {"prepare.tokenizer": SECTIONS["prepare"].defaults()["tokenizer"], **settings}


def _preset(model: LanguageModel) -> str | None:
    """Return the preset whose model and training these are, whatever the seed."""
    ours = settings_of(model)
    for name, preset in PRESETS.items():
        values = preset.values()
        settings = {f"{part}.{key}": value for part in ("model", "train") for key, value in values[part].items()}
        if differing(settings, ours).keys() <= {"prepare.tokenizer", "train.seed"}:
            return name
    return None

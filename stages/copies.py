"""What the samples have in common with the training text: measured, said and written by the sample stage."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from gptmodel.project.layout import Layout
from gptmodel.tracking.tracker import Tracker
from stages.command import note

if TYPE_CHECKING:
    from gptmodel.language_model import LanguageModel


def tell_copies(
    model: "LanguageModel", prompts: Sequence[str], texts: Sequence[str], target: Layout, tracker: Tracker
) -> None:
    """Write metrics/memorisation.json about what follows each prompt, and say what it comes to."""
    from gptmodel.data.prepared import load_prepared
    from gptmodel.evaluation.memorisation import memorisation
    from gptmodel.files import write_json

    data = load_prepared(Layout().prepared)
    model.check_tokenizer(data.tokenizer, data.folder)
    written = [text.removeprefix(prompt) for prompt, text in zip(prompts, texts, strict=True)]
    copies = memorisation(written, data)
    write_json(target.metrics("memorisation"), copies.content())
    tracker.log_artifact(target.metrics("memorisation"), "metrics")
    note(f"note: {copies.sentence()}")

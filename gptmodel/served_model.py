"""A registered model as MLflow loads it: prompts in, texts out.

MLflow calls `_load_pyfunc` of the copy of this package that it keeps beside the model, so that both can be used where
the project is not.
"""

from collections.abc import Mapping
from typing import Any

from gptmodel.text_model import TextModel, load

LIBRARIES = ("numpy", "pydantic", "tiktoken", "torch")
"""What has to be installed where a model is loaded; tiktoken for tokens that are words."""
SETTINGS: dict[str, Any] = {
    name: default for name, default in (TextModel.generate.__kwdefaults__ or {}).items() if name != "num_samples"
} | {"stop": []}
"""What `params` of a prediction may hold, with what counts where it does not: the settings of `TextModel.generate`."""


class ServedModel:
    """Continues each of some prompts as `TextModel.generate` does."""

    def __init__(self, model: TextModel) -> None:
        self._model = model

    def predict(self, model_input: Any, params: Mapping[str, Any] | None = None) -> list[str]:
        """Return each prompt with what follows it.

        Whatever MLflow was given, it hands over a data frame with the prompts in its first column. Raises ConfigError
        for a wrong setting, and DataError for an empty prompt and for a character that the model does not know.
        """
        prompts: list[str] = model_input.iloc[:, 0].tolist()
        texts = [self._model.generate(prompt, **(params or {})) for prompt in prompts]
        return [text for text in texts if isinstance(text, str)]


def _load_pyfunc(path: str) -> ServedModel:
    return ServedModel(load(path))

"""Which settings of a valid params.yaml have no effect: said before a stage starts, and no error."""

from collections.abc import Iterator

from gptmodel.config import SETTINGS_OF, Params
from gptmodel.project.layout import WORDS


def ignored_settings(params: Params) -> list[str]:
    """Name each setting that has no effect in the combination at hand, a line each."""
    fetch, prepare, train, sample = params.fetch, params.prepare, params.train, params.sample
    lines = []
    if fetch.sha256 is not None and fetch.source in WORDS:
        lines.append(f"fetch.sha256 is ignored: fetch.source is {fetch.source}")
    if fetch.separator != fetch.defaults()["separator"] and fetch.source in WORDS:
        lines.append(f"fetch.separator is ignored: fetch.source is {fetch.source}")
    if prepare.val_source is not None and prepare.train_fraction != prepare.defaults()["train_fraction"]:
        lines.append(f"prepare.train_fraction = {prepare.train_fraction} is ignored: prepare.val_source validates")
    others = {key for keys in SETTINGS_OF.values() for key in keys} - set(SETTINGS_OF[train.optimizer])
    if useless := sorted(f"train.{key}" for key in others if getattr(train, key) is not None):
        lines.append(f"ignored, since train.optimizer is {train.optimizer}: {', '.join(useless)}; set to null")
    if not params.model.ngram_orders:
        settings = {"train.ngram_lr": train.ngram_lr, "train.ngram_floor": train.ngram_floor}
        settings["model.ngram_dropout"] = params.model.ngram_dropout
        lines += [
            f"{key} = {value} is ignored: model.ngram_orders is empty" for key, value in settings.items() if value
        ]
    elif train.ngram_floor and train.optimizer == "sgd":
        lines.append(f"train.ngram_floor = {train.ngram_floor} is ignored: train.optimizer is sgd")
    if params.model.kneser_ney_share and not params.model.kneser_ney:
        lines.append(f"model.kneser_ney_share = {params.model.kneser_ney_share} is ignored: model.kneser_ney is 0")
    if train.teacher_share and not train.teacher_order:
        lines.append(f"train.teacher_share = {train.teacher_share} is ignored: train.teacher_order is 0")
    if train.lr_schedule == "constant" and train.min_lr:
        lines.append(f"train.min_lr = {train.min_lr} is ignored: train.lr_schedule is constant")
    lines += _of_runtime(params)
    if sample.temperature == 0.0 and (sample.top_k or sample.top_p < 1.0):
        lines.append("sample.top_k and sample.top_p are ignored: sample.temperature is 0")
    if sample.temperature == 0.0 and sample.num_samples > 1:
        lines.append("sample.num_samples: all samples will be equal, since sample.temperature is 0")
    return lines


def _of_runtime(params: Params) -> Iterator[str]:
    runtime = params.runtime
    if params.train.compile and runtime.threads != "auto":
        yield f"runtime.threads = {runtime.threads} is ignored: with train.compile there is one for each of train.parts"
    if params.train.shard and runtime.threads not in ("auto", 1):
        yield f"runtime.threads = {runtime.threads} is ignored: with train.shard each process has one"
    if runtime.launcher is not None and runtime.processes > 1:
        yield f"runtime.processes = {runtime.processes} is ignored: runtime.launcher says how many there are"
    if runtime.restarts and (runtime.launcher is not None or runtime.processes == 1):
        yield f"runtime.restarts = {runtime.restarts} is ignored: it is for the processes of runtime.processes"

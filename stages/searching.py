"""What a worker of a study does from its start to its end."""

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gptmodel.data.prepared import PreparedData, load_prepared
from gptmodel.errors import ConfigError, DataError, GptModelError, TrainingError
from gptmodel.params_file import checked, read_params
from gptmodel.project.git import git
from gptmodel.project.inputs import code_digest
from gptmodel.project.layout import STUDY_MARK, Layout, project_root
from gptmodel.training.run import find_place, give_up
from gptmodel.tuning.study import Study
from gptmodel.tuning.subject import Subject
from gptmodel.tuning.table import settings
from gptmodel.tuning.worker import Worker
from stages.command import tell
from stages.options import PARAMS_FILE
from stages.progress import chosen_style
from stages.stopping import StopSignals
from stages.trial import train


def work(study: Study) -> None:
    """Train trials of a study until none is left to begin."""
    base, data = read_params(PARAMS_FILE), load_prepared(Layout().prepared)
    subject, runs = _subject(study, base, data), project_root() / "runs"
    study.check(subject)
    with StopSignals() as stop, Worker(runs) as worker:
        while (trial := study.draw(worker)) is not None:
            tell(f"trial {trial.number}: {settings(trial.values)}")
            try:
                stop.check()
                params = study.search.params(_quiet(base), trial.values, str(PARAMS_FILE))
                loss = train(trial, params, data, stop, study.name)
            except (ConfigError, DataError, TrainingError) as error:
                tell(f"trial {trial.number}: refused, {error}")
                trial.refuse(str(error))
            except BaseException:
                with contextlib.suppress(GptModelError):
                    study.give_back(trial)
                raise
            else:
                trial.settle(loss)
            if _subject(study, base, data) != subject:
                raise DataError("data/prepared or the code changed while trials were trained; run it again")
            _keep_the_best(study, runs)


def _quiet(base: Mapping[str, Any]) -> Mapping[str, Any]:
    """Show a bar on a terminal, and elsewhere a line for each trial, not for each evaluation."""
    runtime = base["runtime"]
    return {**base, "runtime": {**runtime, "progress": "bar" if chosen_style(runtime["progress"]) == "bar" else "none"}}


def _subject(study: Study, base: Mapping[str, Any], data: PreparedData) -> Subject:
    """Return what is here; ConfigError or TrainingError where not even the settings of params.yaml can be trained."""
    params = checked(base, str(PARAMS_FILE))
    find_place(params, data.tokenizer.vocab_size, (len(data.train.ids), len(data.val.ids)))
    with contextlib.suppress(GptModelError):
        commit = git(Path.cwd(), "rev-parse", "--short", "HEAD")
        return Subject.of(study.search, params, data.digests(), code_digest("train"), commit)
    return Subject.of(study.search, params, data.digests(), code_digest("train"), "no commit")


def _keep_the_best(study: Study, runs: Path) -> None:
    """Give up the states of complete trials but the best: each can be trained again, with the same bytes."""
    best = study.best()
    for row in study.rows():
        if row.state == "complete" and row.run and best is not None and row.run != best.run:
            mark = runs / row.run / STUDY_MARK
            if mark.is_file() and mark.read_text(encoding="utf-8") == study.name:
                give_up(runs, row.run)

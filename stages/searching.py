"""What a worker of a study does from its start to its end."""

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gptmodel.data.prepared import PreparedData, load_prepared
from gptmodel.errors import ConfigError, DataError, GptModelError, TrainingError
from gptmodel.params_file import checked, read_params
from gptmodel.project.git import git_tags
from gptmodel.project.inputs import code_digest
from gptmodel.project.layout import STUDY_MARK, Layout, project_root
from gptmodel.training.run import find_place
from gptmodel.training.run_lock import give_up
from gptmodel.tuning.search import Search
from gptmodel.tuning.study import Study
from gptmodel.tuning.subject import Subject
from gptmodel.tuning.table import settings
from gptmodel.tuning.trial import Trial
from gptmodel.tuning.worker import Worker
from stages.command import tell
from stages.options import PARAMS_FILE
from stages.stopping import StopSignals
from stages.trial import train


def work(search: Search, address: str) -> Study:
    """Train trials of a study until none is left to begin; ConfigError if none of all could be trained."""
    base, data, runs = read_params(PARAMS_FILE), load_prepared(Layout().prepared), project_root() / "runs"
    params = checked(base, str(PARAMS_FILE))
    find_place(params, data.tokenizer.vocab_size, (len(data.train.ids), len(data.val.ids)))  # or it fits nowhere here
    commit = git_tags(Path.cwd()).get("mlflow.source.git.commit", "no commit")
    subject = Subject.of(search, params, data.digests(), code_digest("train"), commit[:9])
    study = Study(address, search, is_new=True)
    study.check(subject)
    with StopSignals() as stop, Worker(runs, study.name) as worker:
        while (trial := study.draw(worker)) is not None:
            _train(study, trial, base, data, stop)
            if (data.digests(), code_digest("train")) != (subject.data, subject.code):
                raise DataError("data/prepared or the code changed while trials were trained; run it again")
            _keep_the_best(study, runs)
    rows = study.rows()
    if all(row.state == "refused" for row in rows):
        raise ConfigError(f"study {study.name}: no trial can be trained, such as {rows[0].number}: {rows[0].remark}")
    return study


def _train(study: Study, trial: Trial, base: Mapping[str, Any], data: PreparedData, stop: StopSignals) -> None:
    """Train a trial to its end, whatever that is, or leave it to the next worker and raise what came between."""
    tell(f"trial {trial.number}: {settings(trial.values)}")
    try:
        stop.check()
        params = study.search.params(base, trial.values, str(PARAMS_FILE))
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


def _keep_the_best(study: Study, runs: Path) -> None:
    """Give up the states of complete trials but the best: each can be trained again, with the same bytes."""
    best = study.best()
    for row in study.rows():
        if row.state == "complete" and row.run and best is not None and row.run != best.run:
            with contextlib.suppress(FileNotFoundError):  # it was given up, by another worker perhaps at this moment
                if (runs / row.run / STUDY_MARK).read_text(encoding="utf-8") == study.name:
                    give_up(runs, row.run)

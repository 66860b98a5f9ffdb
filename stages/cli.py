"""The `gptmodel` command: every stage, and what one needs around them."""

from stages.command import main, new_app
from stages.doctor import doctor
from stages.evaluate import evaluate
from stages.fetch import fetch
from stages.options import showing
from stages.plan import plan
from stages.prepare import prepare
from stages.sample import sample
from stages.sync import sync
from stages.train import train
from stages.ui import ui
from stages.verify import verify

app = new_app(help="Train, evaluate and sample a GPT on your own text. `dvc repro` runs all stages.")
app.command(cls=showing("fetch"))(fetch)
app.command(cls=showing("prepare"))(prepare)
app.command(cls=showing("model", "train", "runtime"))(train)
app.command(cls=showing("evaluate"))(evaluate)
app.command(cls=showing("sample"))(sample)
app.command(cls=showing("model", "train", "runtime"))(plan)
app.command()(ui)
app.command()(sync)
app.command()(verify)
app.command()(doctor)


def run() -> None:
    """Entry point of the installed command."""
    main(app)


if __name__ == "__main__":
    run()

"""The `gptmodel` command: every stage, and what one needs around them."""

from stages import doctor, evaluate, fetch, plan, prepare, sample, sync, train, ui, verify
from stages.command import main, new_app

app = new_app(help="Train, evaluate and sample a GPT on your own text. `dvc repro` runs all stages.")
for stage in (fetch, prepare, train, evaluate, sample, plan):  # as they are by themselves
    app.registered_commands += stage.app.registered_commands
for command in (ui.ui, sync.sync, verify.verify, doctor.doctor):
    app.command()(command)


def run() -> None:
    """Entry point of the installed command."""
    main(app)


if __name__ == "__main__":
    run()

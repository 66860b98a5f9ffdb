"""The train stage."""

from pathlib import Path

from stages.command import PARAMS_FILE, OutOption, ParamsOption, SettingsOption, main, new_app, read_params, showing

app = new_app()


@app.command(cls=showing("model", "train", "runtime"))
def train(params: ParamsOption = PARAMS_FILE, settings: SettingsOption = None, out: OutOption = Path()) -> None:
    """Train the model."""
    read_params(params, settings)


if __name__ == "__main__":
    main(app)

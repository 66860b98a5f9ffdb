"""Makes the pictures of the playground and of MLflow: `python docs/screenshots.py [playground] [mlflow]`.

Run it after `dvc repro` at the default settings. The playground shows models/model.pth; MLflow shows ten short
trainings on data/prepared, made in a temporary project, which takes five minutes. It needs Chromium and
requirements-dev.txt; the letters are the machine's own (those of fonts-noto-core in the committed pictures).
"""

import io
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

DOCS = Path(__file__).resolve().parent
PROJECT = DOCS.parent
PORT = 8764
QUIET = "--headless --no-sandbox --disable-gpu --no-first-run --disable-background-networking --disable-sync"
CLEAN = {name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW_", "DVC_"))}
MLFLOW_SETTINGS = """
localStorage.setItem("mlflow.workflowType_v1", '"machine_learning"');
localStorage.setItem("mlflow.assistant.fab.autoOpenedOnFirstLoad_v1", "true");
localStorage.setItem("mlflow.assistant.panelOpen_v1", "false");
"""
SHORT: dict[str, dict[str, Any]] = {
    "model": {"n_embd": 32, "n_layer": 2},
    "train": {"batch_size": 32, "max_iters": 600, "eval_interval": 50, "eval_iters": 20},
    "evaluate": {"max_tokens": 100_000},
    "runtime": {"progress": "none"},
}
EXPERIMENTS: list[dict[str, dict[str, Any]]] = [
    {},
    {"model": {"position": "rotary"}},
    {"model": {"position": "none"}},
    {"train": {"learning_rate": 0.003}},
    {"model": {"position": "rotary"}, "train": {"learning_rate": 0.003}},
    {"train": {"optimizer": "sgd", "learning_rate": 0.1}},
    {"train": {"seed": 1}},
    {"model": {"position": "rotary", "norm": "pre", "activation": "relu2"}, "train": {"learning_rate": 0.003}},
    {"model": {"dropout": 0.2}},
    {"model": {"n_embd": 64}, "train": {"batch_size": 16}},
]
"""What the trainings that MLflow shows change in the settings."""


def command(folder: Path, *words: str) -> None:
    """Run a command that has to succeed."""
    subprocess.run(words, cwd=folder, env=CLEAN | {"PYTHONPATH": str(PROJECT)}, stdout=subprocess.DEVNULL, check=True)


def write_params(folder: Path, changes: Mapping[str, Mapping[str, Any]]) -> None:
    """Write the params.yaml of a short training."""
    values: Any = yaml.safe_load((PROJECT / "params.yaml").read_text(encoding="utf-8"))
    for each in (SHORT, changes):
        for section, settings in each.items():
            values[section].update(settings)
    (folder / "params.yaml").write_text(yaml.safe_dump(values, sort_keys=False), encoding="utf-8")


def train_all(folder: Path) -> None:
    """Make a project with a commit and the runs that differ from it."""
    shutil.copytree(PROJECT / "data", folder / "data")
    (folder / "metrics").mkdir()
    shutil.copy(PROJECT / "metrics" / "baselines.json", folder / "metrics")
    write_params(folder, {})
    command(folder, "git", "init", "--quiet")
    command(folder, "git", "add", "params.yaml")
    identity = ("-c", "user.name=gptmodel", "-c", "user.email=gptmodel@example.org")
    command(folder, "git", *identity, "commit", "--quiet", "--message", "Baseline")
    for changes in EXPERIMENTS:
        write_params(folder, changes)
        for stage in ("train", "evaluate", "sample"):
            command(folder, sys.executable, "-m", f"stages.{stage}")


@contextmanager
def server(folder: Path, *words: str) -> Iterator[str]:
    """Run a server of the project in a folder while the block runs; yield the first line that it says."""
    with subprocess.Popen(
        [sys.executable, "-m", "stages.cli", *words, "--port", str(PORT)],
        cwd=folder,
        env=CLEAN | {"PYTHONPATH": str(PROJECT)},
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            line = process.stdout.readline() if process.stdout is not None else ""
            if not line:
                sys.exit("error: the server does not start")
            yield line
        finally:
            process.send_signal(signal.SIGINT)


@contextmanager
def opened(browser: Browser, address: str, width: int, height: int = 1000, scheme: str = "light") -> Iterator[Page]:
    """A page on a screen of some size, in light or dark."""
    context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)
    context.add_init_script(MLFLOW_SETTINGS)
    page = context.new_page()
    page.set_default_timeout(30_000)
    page.goto(address)
    yield page
    context.close()


def playground(browser: Browser) -> None:
    """Write docs/playground.png and docs/playground-dark.png."""
    address = f"http://127.0.0.1:{PORT}/"
    with server(PROJECT, "serve"):
        with opened(browser, address, 1200) as page:
            page.wait_for_selector("#model option", state="attached")
            page.click("#continue [type=submit]")
            page.wait_for_selector("#continue .stop[disabled]", state="attached")
            page.locator("#continue .token").nth(47).hover()
            page.screenshot(path=DOCS / "playground.png", full_page=True)
        with opened(browser, address, 400, scheme="dark") as page:
            page.wait_for_selector("#model option", state="attached")
            page.click("#attention-tab")
            page.click("#attention [type=submit]")
            page.wait_for_selector("#attention canvas")
            page.get_by_label("Layer 3").check()
            page.wait_for_selector("#attention .pane[aria-busy=false]")
            page.screenshot(path=DOCS / "playground-dark.png", full_page=True)


def mlflow(browser: Browser) -> None:
    """Write docs/mlflow-runs.png, -charts.png, -run.png and -compare.png."""
    with tempfile.TemporaryDirectory() as name:
        train_all(Path(name))
        with server(Path(name), "ui") as line, opened(browser, line.split()[1], 1400, 700) as page:
            page.wait_for_selector(".ag-row[row-index='0'] a")
            take(page, "mlflow-runs.png")
            runs = page.url

            page.set_viewport_size({"width": 1400, "height": 780})
            page.goto(f"{runs}&compareRunsMode=CHART")
            page.wait_for_selector("text=learning_rate >> nth=-1")
            take(page, "mlflow-charts.png")

            page.goto(runs)
            page.wait_for_selector(".ag-row[row-index='0'] a")
            for row in (0, 1):
                page.locator(f".ag-row[row-index='{row}'] input[type=checkbox]").first.check()
            page.get_by_role("button", name="Compare").click()
            switches = page.get_by_role("switch")
            switches.first.wait_for()
            for number in range(switches.count()):
                switches.nth(number).click()
            page.get_by_text("Run details").evaluate("heading => heading.scrollIntoView()")
            take(page, "mlflow-compare.png")

            page.goto(runs)
            page.locator(".ag-row[row-index='0'] a").first.click()
            page.click("text=Show more")
            take(page, "mlflow-run.png")


def take(page: Page, name: str) -> None:
    """Write a picture in 256 colours, once MLflow has drawn all of a page, which it does not tell."""
    page.mouse.move(0, 0)
    page.wait_for_timeout(5000)
    Image.open(io.BytesIO(page.screenshot())).convert("RGB").quantize().save(DOCS / name, optimize=True)


def main() -> None:
    """Write the pictures that the command line names, or all."""
    sets = {"playground": playground, "mlflow": mlflow}
    if unknown := set(sys.argv[1:]) - set(sets):
        sys.exit(f"error: {', '.join(sorted(unknown))}: the pictures are {' and '.join(sets)}")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=QUIET.split())
        for name in sys.argv[1:] or sets:
            sets[name](browser)
        browser.close()


if __name__ == "__main__":
    main()

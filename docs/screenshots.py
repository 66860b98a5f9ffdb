"""Makes the pictures of the playground, docs/playground.png and docs/playground-dark.png, from models/model.pth.

`python docs/screenshots.py` after `dvc repro` at the default settings. It needs Chromium and requirements-dev.txt; the
letters are the machine's own (those of fonts-noto-core in the committed pictures).
"""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

DOCS = Path(__file__).resolve().parent
PORT = 8764
QUIET = "--headless --no-sandbox --disable-gpu --no-first-run --disable-background-networking --disable-sync"


@contextmanager
def server() -> Iterator[str]:
    """Serve the model while the block runs."""
    command = [sys.executable, "-m", "stages.cli", "serve", "--port", str(PORT)]
    with subprocess.Popen(command, cwd=DOCS.parent, stdout=subprocess.PIPE, text=True) as process:
        try:
            if process.stdout is None or not process.stdout.readline():
                sys.exit("error: the server does not start")
            yield f"http://127.0.0.1:{PORT}/"
        finally:
            process.terminate()


@contextmanager
def opened(browser: Browser, address: str, width: int, scheme: str) -> Iterator[Page]:
    """The page on a screen of some width, in light or dark."""
    context = browser.new_context(viewport={"width": width, "height": 1000}, color_scheme=scheme)
    page = context.new_page()
    page.goto(address)
    page.wait_for_selector("#model option", state="attached")
    yield page
    context.close()


def main() -> None:
    """Write the pictures."""
    with sync_playwright() as playwright, server() as address:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=QUIET.split())
        with opened(browser, address, 1200, "light") as page:
            page.click("#continue [type=submit]")
            page.wait_for_selector("#continue .stop[disabled]", state="attached")
            page.locator("#continue .token").nth(47).hover()
            page.screenshot(path=DOCS / "playground.png", full_page=True)
        with opened(browser, address, 400, "dark") as page:
            page.click("#attention-tab")
            page.click("#attention [type=submit]")
            page.wait_for_selector("#attention canvas")
            page.get_by_label("Layer 3").check()
            page.wait_for_selector("#attention .pane[aria-busy=false]")
            page.screenshot(path=DOCS / "playground-dark.png", full_page=True)
        browser.close()


if __name__ == "__main__":
    main()

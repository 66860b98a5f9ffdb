"""The report in a real browser: on a telephone, on paper, in dark and in light."""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from report_findings import findings

from gptmodel.evaluation.history import Evaluation
from gptmodel.reporting.report import report

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.thorough
CHROMIUM = shutil.which("chromium")
if CHROMIUM is None:
    pytest.skip("no Chromium here: `apt-get install chromium`", allow_module_level=True)

PHONE, PAPER = 400, 680  # pixels; a page of A4 has 680 between its margins
LONG_WORD = "x" * 300
CUT_OFF = """() => [...document.querySelectorAll("body *")]
    .filter(one => one.getBoundingClientRect().right > innerWidth || one.scrollWidth > one.clientWidth + 1 &&
        getComputedStyle(one).display !== "inline" && one.ownerSVGElement === null)
    .map(one => one.outerHTML.slice(0, 120))"""
"""What reaches beyond the page, or beyond a frame of its own that one would have to scroll."""


@pytest.fixture(scope="module")
def browser() -> "Iterator[Browser]":
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--headless", "--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report with many passages and long words wherever a text or a name can be."""
    passage = {"tokens": ["a", LONG_WORD, "b"] * 20, "nats": [0.1, 6.0, 8.0] * 20}
    copies = {**findings().memorisation, "texts": [{"text": f"{LONG_WORD} " * 20, "copied": [[0, 40]]}] * 4}
    rows = [
        Evaluation(iteration=step, tokens=step, seconds=1.0, learning_rate=0.1, train_loss=9 / step, val_loss=10 / step)
        for step in range(1, 20)
    ]
    page = report(
        findings(
            memorisation=copies,
            passages={"hardest": [passage] * 5, "easiest": [passage] * 5},
            history=rows,
            digests={LONG_WORD: "0" * 64},
        )
    )
    path = tmp_path_factory.mktemp("report") / "report.html"
    path.write_text(page, encoding="utf-8")
    return path


def opened(browser: "Browser", file: Path, width: int, scheme: str) -> "Page":
    page = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme).new_page()
    page.goto(file.as_uri())
    return page


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_is_cut_off_on_a_telephone(browser: "Browser", file: Path, scheme: str) -> None:
    page = opened(browser, file, PHONE, scheme)
    assert page.evaluate(CUT_OFF) == []
    ink, paper = page.evaluate(
        "[getComputedStyle(document.body).color, getComputedStyle(document.body).backgroundColor]"
    )
    assert (brightness(ink) > brightness(paper)) == (scheme == "dark")


def test_it_is_whole_on_paper_and_says_nothing_by_colour_alone(browser: "Browser", file: Path) -> None:
    page = opened(browser, file, PAPER, "dark")
    page.emulate_media(media="print")
    assert page.evaluate(CUT_OFF) == []
    assert brightness(page.evaluate("getComputedStyle(document.body).color")) < 100  # ink, for white paper
    dashes = page.evaluate(
        "[...document.querySelectorAll('figure > svg .curve')].map(e => getComputedStyle(e).strokeDasharray)"
    )
    assert dashes == ["none", "6px, 3px"] * 2
    assert page.locator(".key svg line").count() == 4  # drawn, as printers leave out backgrounds
    together = page.evaluate("""[["h2", "breakAfter"], ["p.soft", "breakAfter"], [".passage", "breakInside"]].map(
        ([what, how]) => getComputedStyle(document.querySelector(what))[how])""")
    assert together == ["avoid"] * 3
    printed = page.pdf(format="A4")
    assert 3 < len(re.findall(rb"/Type\s*/Page\b(?!s)", printed)) < 30


def brightness(colour: str) -> float:
    """The mean of red, green and blue of a colour as CSS computes it."""
    numbers = [float(number) for number in re.findall(r"[\d.]+", colour)[:3]]
    return sum(numbers) / 3

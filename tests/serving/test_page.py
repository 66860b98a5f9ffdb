"""The page of `gptmodel serve` in a real browser, before a real server with two models."""

import functools
import json
import math
import re
import shutil
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from attempts import ROOT
from mlflow_server import free_port, wait_for_answer
from model_helpers import language_model, scramble, small_model

from gptmodel.checkpoint.model_file import save_model
from gptmodel.tokenizers.byte import ByteTokenizer

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Locator, Page
    from projects import Project

CHROMIUM = shutil.which("chromium")
if CHROMIUM is None:
    pytest.skip("no Chromium here: `apt-get install chromium`", allow_module_level=True)

QUIET = "--headless --no-sandbox --disable-gpu --no-first-run --disable-background-networking"
QUIET += " --disable-component-update --disable-sync"
NOBODY_ELSE = "--host-resolver-rules=MAP evil.test 127.0.0.1, MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"
MARKUP = '<img src=x onerror="document.title=1"> & <b>é</b>'
TABS = ("continue", "surprise", "attention", "copied")


@pytest.fixture(scope="module")
def server(alone: "Project", tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """A server of a model of ten letters, whose training text is there, and of one of bytes, whose text is not."""
    other = tmp_path_factory.mktemp("other") / "bytes.pth"
    transformer = scramble(small_model(vocab_size=256, block_size=16))
    save_model(other, language_model(transformer, tokenizer=ByteTokenizer()), {})
    port = free_port()
    command = [sys.executable, "-m", "stages.cli", "serve", str(alone.model), str(other), "--port", str(port)]
    process = subprocess.Popen(command, cwd=alone.folder, env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"})
    wait_for_answer(f"http://127.0.0.1:{port}/health")
    yield process, f"http://127.0.0.1:{port}/"
    process.terminate()
    process.wait(60)


@pytest.fixture(scope="module")
def address(server: tuple[subprocess.Popen[bytes], str]) -> str:
    return server[1]


@pytest.fixture(scope="module")
def browser() -> "Iterator[Browser]":
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=[*QUIET.split(), NOBODY_ELSE])
        yield browser
        browser.close()


@pytest.fixture
def page(browser: "Browser", address: str) -> "Iterator[Page]":
    """The page, opened; it has to do with one server, and without an error of its own."""
    context = browser.new_context(viewport={"width": 1200, "height": 900})
    page = context.new_page()
    page.set_default_timeout(20_000)
    asked: list[str] = []
    errors: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda line: errors.append(line.text) if "Content Security Policy" in line.text else None)
    page.goto(address)
    page.wait_for_selector("#model option", state="attached")
    yield page
    context.close()
    assert errors == []
    assert [url for url in asked if not url.startswith((address, "data:"))] == []


def post(address: str, route: str, **body: Any) -> dict[str, Any]:
    """What the server answers to another client."""
    request = urllib.request.Request(address + route, json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=20) as answer:
        return json.load(answer)


def start(page: "Page", tab: str, text: str, **settings: Any) -> "Locator":
    """Type a text into a tab, press its button, and return the place of the results."""
    page.click(f"#{tab}-tab")
    page.fill(f"#{tab}-text", text)
    for name, value in settings.items():
        page.fill(f"#{name}", str(value))
    page.click(f"#{tab} [type=submit]")
    return page.locator(f"#{tab} .panes")


def run(page: "Page", tab: str, text: str, **settings: Any) -> "Locator":
    """Start, and wait for the end."""
    panes = start(page, tab, text, **settings)
    page.wait_for_selector(f"#{tab} .stop[disabled]", state="attached")
    return panes


def written(panes: "Locator") -> str:
    return "".join(panes.locator(".token").all_text_contents())


def figure(panes: "Locator", unit: str) -> float:
    """The number before a unit in the line of figures."""
    match = re.search(rf"([\d.]+) {unit}", panes.locator(".figures").first.inner_text())
    assert match is not None
    return float(match[1])


def test_a_text_is_continued_as_for_any_other_client(page: "Page", address: str) -> None:
    panes = run(page, "continue", "abc", max_tokens=40, seed=5, temperature=1)
    body = {"model": "model", "prompt": "abc", "max_tokens": 40, "seed": 5, "temperature": 1.0, "logprobs": 1}
    choice = post(address, "v1/completions", **body)["choices"][0]
    assert written(panes) == choice["text"]
    assert panes.locator(".prompt").inner_text() == "abc"
    mean = -sum(choice["logprobs"]["token_logprobs"]) / 40
    assert figure(panes, "nats per token") == pytest.approx(mean, abs=0.006)
    assert figure(panes, "tokens") == 40
    assert page.locator("#continue [role=status]").inner_text() == "Done."


def test_a_text_grows_until_it_is_stopped(page: "Page") -> None:
    panes = start(page, "continue", "abc", max_tokens=8192)
    panes.locator(".token").nth(20).wait_for()
    assert page.locator("#continue .pane").get_attribute("aria-busy") == "true"
    page.click("#continue .stop")
    page.wait_for_selector("#continue .stop[disabled]", state="attached")
    text = written(panes)
    assert page.locator("#continue [role=status]").inner_text() == "Stopped."
    assert 20 < len(text) < 8192
    page.wait_for_timeout(200)
    assert written(panes) == text
    assert panes.locator(".problem").count() == 0


def test_a_card_tells_what_the_model_expected(page: "Page", address: str) -> None:
    panes = run(page, "continue", "abc", max_tokens=12, seed=5)
    request = {"model": "model", "prompt": "abc", "max_tokens": 12, "seed": 5, "temperature": 0.8, "logprobs": 5}
    logprobs = post(address, "v1/completions", **request)["choices"][0]["logprobs"]
    panes.locator(".token").nth(7).hover()
    card = page.locator("#card")
    assert f"{-logprobs['token_logprobs'][7]:.2f} nats" in card.inner_text()
    top = sorted(logprobs["top_logprobs"][7].items(), key=lambda pair: -pair[1])
    shown = [name.replace(" ", "␣").replace("\n", "↵") for name, _ in top]
    assert card.locator("li b").all_inner_texts()[: len(shown)] == shown
    assert card.locator("li.this").count() == 1
    page.hover("h1")
    assert card.is_hidden()


def test_tokens_are_reached_by_the_keyboard(page: "Page") -> None:
    run(page, "surprise", "abc de")
    page.focus("#surprise .text")
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    assert page.locator("#surprise .chosen").inner_text() == "c"
    assert page.locator("#card").is_visible()
    assert re.match(r"c: \d+\.\d\d nats, probability .+ %\. Likeliest: ", page.locator("#announcer").inner_text())
    page.keyboard.press("Escape")
    assert page.locator("#card").is_hidden()
    page.focus("#surprise-tab")
    page.keyboard.press("ArrowRight")
    assert page.locator("#attention").is_visible()
    page.focus("#attention-text")
    page.keyboard.press("Control+Enter")
    page.locator("#attention .pane").wait_for()


def test_surprise_is_the_loss_that_the_server_tells(page: "Page", address: str) -> None:
    text = "abc de\nfa " * 4
    panes = run(page, "surprise", text)
    answer = post(address, "v1/completions", model="model", prompt=text, max_tokens=0, echo=True, logprobs=1)
    losses = [-logprob for logprob in answer["choices"][0]["logprobs"]["token_logprobs"][1:]]
    assert figure(panes, "nats per token") == pytest.approx(sum(losses) / len(losses), abs=0.0006)
    assert figure(panes, "bits per byte") == pytest.approx(sum(losses) / math.log(2) / (len(text) - 1), abs=0.0006)
    hardest = panes.locator(".places li").first
    assert f"{max(losses):.1f} nats" in hardest.inner_text()
    hardest.locator("button").click()
    assert f"{max(losses):.2f} nats" in page.locator("#card").inner_text()


def test_attention_of_each_layer_and_head(page: "Page", address: str) -> None:
    page.select_option("#model", "bytes")
    panes = run(page, "attention", "abcdef")
    assert (panes.locator("canvas").count(), panes.get_by_role("radio").count()) == (2, 4)
    panes.locator("canvas").nth(1).click()
    panes.get_by_label("Layer 2").check()
    page.wait_for_selector("#attention .pane[aria-busy=false]")
    assert panes.get_by_label("Head 2").is_checked()
    weights = post(address, "api/attention", model="bytes", text="abcdef", layer=1)["heads"][1]
    panes.locator(".token").nth(3).hover()
    most = max(weights[3])
    place = weights[3].index(most)
    where = "itself" if place == 3 else f"{3 - place} back"
    line = panes.locator(".looks").inner_text()
    assert line.startswith(f"“d” looks at “{'abcdef'[place]}” ({where}) ")
    assert float(line.split(") ")[1].split(" %")[0]) == pytest.approx(most / 10, abs=0.51)
    share = "one => Number(one.style.getPropertyValue('--share'))"
    shares = panes.locator(".token").evaluate_all(f"all => all.map({share})")
    assert shares == pytest.approx([weight / most for weight in weights[3]])


def test_the_maps_of_attention_follow_the_pointer_and_paint_no_cell_again(page: "Page", address: str) -> None:
    page.select_option("#model", "bytes")
    panes = run(page, "attention", "abcdef")
    weights = post(address, "api/attention", model="bytes", text="abcdef", layer=0)["heads"][0]
    box = panes.locator("canvas").first.bounding_box()
    assert box is not None
    cell = box["height"] / 6
    opacity = """([row, column, cell]) => document.querySelector("#attention canvas").getContext("2d")
        .getImageData((column + 0.5) * cell, (row + 0.5) * cell, 1, 1).data[3] / 255"""
    inner = panes.locator("canvas").first.evaluate("canvas => canvas.width / 6")
    shown = [page.evaluate(opacity, [row, column, inner]) for row in range(6) for column in range(6)]
    expected = [
        0.04 + 0.96 * weights[row][column] / max(weights[row]) if column <= row else 0
        for row in range(6)
        for column in range(6)
    ]
    assert shown == pytest.approx(expected, abs=0.01)
    page.mouse.move(box["x"] + cell / 2, box["y"] + 4.5 * cell)
    first = panes.locator("canvas").first.evaluate("canvas => canvas.toDataURL()")
    page.evaluate("""() => {
        window.painted = 0;
        const pen = CanvasRenderingContext2D.prototype;
        for (const name of ["fillRect", "putImageData"]) {
            const paint = pen[name];
            pen[name] = function (...args) { window.painted++; paint.apply(this, args); };
        }
    }""")
    for row in (1, 3, 5):
        page.mouse.move(box["x"] + cell / 2, box["y"] + (row + 0.5) * cell)
        assert panes.locator(".looks").inner_text().startswith(f"“{'abcdef'[row]}” looks at ")
    assert panes.locator("canvas").first.evaluate("canvas => canvas.toDataURL()") != first
    page.mouse.move(box["x"] + cell / 2, box["y"] + 4.5 * cell)
    assert panes.locator("canvas").first.evaluate("canvas => canvas.toDataURL()") == first
    assert page.evaluate("window.painted") == 0


def test_what_is_copied_from_the_training_text_is_marked(page: "Page", alone: "Project") -> None:
    copied = (alone.folder / "data" / "input.txt").read_text(encoding="utf-8")[500:560]
    panes = run(page, "copied", f"🜚jjjjjjjj{copied}jjjjjjjj")
    assert copied in panes.locator("mark").first.inner_text()
    assert 60 <= figure(panes, "characters") < 70
    page.select_option("#model", "bytes")  # its training text is not here
    assert run(page, "copied", copied).locator(".problem").inner_text()


def test_two_models_side_by_side(page: "Page") -> None:
    page.select_option("#beside", "bytes")
    panes = run(page, "continue", "abc", max_tokens=30)
    assert panes.locator("h2").all_inner_texts() == ["model", "bytes"]
    assert [panes.locator(".text").nth(number).locator(".prompt").inner_text() for number in (0, 1)] == ["abc", "abc"]
    assert all(figures.startswith("30 tokens") for figures in panes.locator(".figures").all_inner_texts())
    assert run(page, "surprise", "abc").locator(".pane").count() == 2


def test_a_text_can_be_taken_to_another_tab(page: "Page") -> None:
    text = "abc" + written(run(page, "continue", "abc", max_tokens=10))
    page.click("#continue .hand-over >> text=Surprise")
    page.wait_for_selector("#surprise .figures:not(:empty)")
    assert page.input_value("#surprise-text") == text
    assert written(page.locator("#surprise .panes")) == text


def test_markup_and_any_character_in_a_text_stay_text(page: "Page") -> None:
    page.select_option("#model", "bytes")
    text = f"{MARKUP}\t🜚\u2028 end"
    panes = run(page, "surprise", text)
    assert written(panes) == text
    assert figure(panes, "tokens") == len(text.encode()) - 1
    assert run(page, "continue", text, max_tokens=1).locator(".prompt").inner_text() == text
    page.select_option("#model", "model")
    assert run(page, "copied", text).locator(".text").inner_text() == text
    assert page.locator(".panes .problem").count() == 0
    assert page.locator(".panes img, .panes b").count() == 0
    assert page.title() == "gptmodel playground"


def test_what_the_server_refuses_is_told_where_it_happens(page: "Page", address: str) -> None:
    problem = run(page, "surprise", "abc €").locator(".problem")
    assert "'€'" in problem.inner_text()
    page.context.set_offline(True)
    assert run(page, "surprise", "abc").locator(".problem").inner_text().startswith("The server does not answer.")
    page.context.set_offline(False)
    with ExitStack() as clients:  # as many as the server serves at once
        body = json.dumps({"model": "model", "prompt": "a", "max_tokens": 8192, "stream": True}).encode()
        for _ in range(16):
            headers = {"Content-Type": "application/json"}
            request = urllib.request.Request(f"{address}v1/completions", body, headers)
            clients.enter_context(urllib.request.urlopen(request, timeout=20)).readline()
        assert "too many requests" in run(page, "continue", "abc").locator(".problem").inner_text()
    assert run(page, "surprise", "abc").locator(".problem").count() == 0


@pytest.mark.parametrize(("width", "scheme"), [(1200, "dark"), (400, "light")])
def test_the_page_fits_its_screen(browser: "Browser", address: str, width: int, scheme: Any) -> None:
    context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme)
    page = context.new_page()
    page.goto(address)
    page.wait_for_selector("#model option", state="attached")
    page.select_option("#model", "bytes")
    page.select_option("#beside", "model")
    page.locator("#max_tokens").evaluate("field => field.value = 60")
    for tab in TABS:
        run(page, tab, "abcdefg hij" * 9)
        assert page.evaluate("document.documentElement.scrollWidth") <= width, tab
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert background == {"dark": "rgb(21, 23, 26)", "light": "rgb(250, 248, 244)"}[scheme]
    context.close()


def test_no_other_site_reaches_the_server(browser: "Browser", address: str, tmp_path: Path) -> None:
    page = browser.new_page()
    page.goto(address.replace("127.0.0.1", "evil.test"))  # a name that was made to mean this machine
    assert "call it 127.0.0.1 or localhost" in page.content()
    (tmp_path / "index.html").write_text(f'<iframe src="{address}"></iframe>', encoding="utf-8")
    handler = functools.partial(SimpleHTTPRequestHandler, directory=tmp_path)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as site:  # on this machine, since a browser blocks the others
        threading.Thread(target=site.serve_forever).start()
        with page.expect_console_message(lambda message: "frame-ancestors" in message.text):
            page.goto(f"http://127.0.0.1:{site.server_port}/")
        for method in ("GET", "POST"):
            ask = "([url, method]) => fetch(url, {method}).then(() => 'read', () => 'refused')"
            assert page.evaluate(ask, [f"{address}v1/models", method]) == "refused"
        page.close()
        site.shutdown()


def test_a_server_that_dies_is_told(page: "Page", server: tuple[subprocess.Popen[bytes], str]) -> None:  # the last one
    panes = start(page, "continue", "abc", max_tokens=8192)
    panes.locator(".token").nth(20).wait_for()
    server[0].kill()
    assert panes.locator(".problem").inner_text().startswith("The server ended before the text was complete.")
    assert len(written(panes)) > 20
    assert run(page, "continue", "abc").locator(".problem").inner_text().startswith("The server does not answer.")

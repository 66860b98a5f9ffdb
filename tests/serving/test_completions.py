"""What the server answers, over a real socket: OpenAI's completions, and the numbers of the library."""

import itertools
import json
import math
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from model_helpers import ROOT, small_params
from serving_helpers import LETTERS, Running, model_of, running

from gptmodel import evaluation
from gptmodel.checkpoint.model_file import save_model
from gptmodel.data.corpus import prepare
from gptmodel.data.prepared import load_prepared
from gptmodel.errors import CheckpointError, ConfigError
from gptmodel.nn.transformer import TransformerModel
from gptmodel.sampling.incremental import IncrementalModel
from gptmodel.scoring import score_text
from gptmodel.serving.app import Api
from gptmodel.serving.attention import attention_weights
from gptmodel.serving.models import Shelf
from gptmodel.text_model import TextModel
from gptmodel.tokenizers.byte import ByteTokenizer

COMPLETIONS = "/v1/completions"
MODEL = model_of()
BYTES = model_of(ByteTokenizer())


def expected(prompt: str, name: str = "char", **settings: Any) -> list[str]:
    """The texts of Python's own call, without the prompt."""
    model = TextModel(MODEL if name == "char" else BYTES, name)
    texts = model.generate(prompt, **settings)
    return [text.removeprefix(prompt) for text in ([texts] if isinstance(texts, str) else texts)]


@pytest.mark.parametrize("name", ["char", "byte"])
def test_an_answer_is_the_text_of_the_library_whole_and_as_a_stream(server: Running, name: str) -> None:
    settings: dict[str, Any] = {"temperature": 1.3, "top_k": 6, "top_p": 0.9, "past_block": "shift", "seed": 5}
    texts = expected("ab", name, max_new_tokens=30, num_samples=2, **settings)
    answer = server.post(COMPLETIONS, model=name, prompt="ab", max_tokens=30, n=2, **settings)
    assert [choice["text"] for choice in answer["choices"]] == texts
    assert [choice["finish_reason"] for choice in answer["choices"]] == ["length"] * 2
    assert answer["usage"] == {"prompt_tokens": 2, "completion_tokens": 60, "total_tokens": 62}
    assert (answer["object"], answer["model"], answer["seed"]) == ("text_completion", name, 5)
    assert answer["system_fingerprint"].startswith("fp_")
    settings["stream_options"] = {"include_usage": True}
    events = server.stream(model=name, prompt="ab", max_tokens=30, n=2, **settings)
    streamed = ["", ""]
    for event in events:
        assert (event["id"], event["system_fingerprint"]) == (events[0]["id"], answer["system_fingerprint"])
        for choice in event["choices"]:
            streamed[choice["index"]] += choice["text"]
    assert streamed == texts
    assert (events[-1]["choices"], events[-1]["usage"]) == ([], answer["usage"])
    assert [event for event in events[:-1] if "usage" in event] == []


def test_stops_cross_tokens_and_end_each_choice_by_itself(server: Running) -> None:
    texts = expected("ab", num_samples=4, max_new_tokens=40, temperature=1.0, seed=2, stop=["ce", "j"])
    answer = server.post(COMPLETIONS, prompt="ab", n=4, max_tokens=40, seed=2, stop=["ce", "j"], logprobs=1)
    assert [choice["text"] for choice in answer["choices"]] == texts
    assert {choice["finish_reason"] for choice in answer["choices"]} == {"stop"}
    assert ["".join(choice["logprobs"]["tokens"]) for choice in answer["choices"]] == texts
    one = server.post(COMPLETIONS, prompt="ab", max_tokens=40, seed=2, stop="j")["choices"][0]["text"]
    assert one == expected("ab", max_new_tokens=40, temperature=1.0, seed=2, stop="j")[0]


def test_prompts_are_texts_or_ids_one_or_several(server: Running) -> None:
    ids = LETTERS.encode("ab")
    forms: list[Any] = ["ab", ["ab"], ids, [ids]]
    answers = [server.post(COMPLETIONS, prompt=form, seed=1)["choices"] for form in forms]
    assert answers == [answers[0]] * 4
    both = server.post(COMPLETIONS, prompt=["ab", "cd"], n=2, seed=1, temperature=0.5)["choices"]
    texts = [expected(prompt, num_samples=2, max_new_tokens=16, temperature=0.5, seed=1) for prompt in ("ab", "cd")]
    assert [choice["text"] for choice in both] == list(itertools.chain(*texts))
    assert [choice["index"] for choice in both] == [0, 1, 2, 3]
    assert server.post(COMPLETIONS, seed=1)["choices"] == server.post(COMPLETIONS, prompt="\n", seed=1)["choices"]
    assert server.post(COMPLETIONS, prompt=None, model=None, seed=1, stop=None)["choices"][0]["text"]


def test_the_weights_are_copied_once_for_all_requests(server: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    server.post(COMPLETIONS, prompt="ab")
    monkeypatch.setattr(IncrementalModel, "__init__", None)  # who calls it fails
    assert len(server.post(COMPLETIONS, prompt=["ab"] * 3, max_tokens=2)["choices"]) == 3


def test_without_a_seed_one_is_drawn_and_told(server: Running) -> None:
    first, second = (server.post(COMPLETIONS, prompt="ab", max_tokens=40) for _ in range(2))
    assert first["seed"] != second["seed"]
    again = server.post(COMPLETIONS, prompt="ab", max_tokens=40, seed=first["seed"])
    assert again["choices"] == first["choices"]


@pytest.mark.parametrize("stream", [False, True])
def test_echo_scores_the_prompt(server: Running, stream: bool) -> None:
    text = "abcabcjjabcdefgh\nab"
    asked = {"prompt": text, "max_tokens": 0, "echo": True, "logprobs": 3}
    answer = server.stream(**asked) if stream else [server.post(COMPLETIONS, **asked)]
    choices = [choice for event in answer for choice in event["choices"]]
    logprobs = choices[0]["logprobs"]
    assert "".join(choice["text"] for choice in choices) == text == "".join(logprobs["tokens"])
    assert logprobs["token_logprobs"][0] is logprobs["top_logprobs"][0] is None
    assert [-logprob for logprob in logprobs["token_logprobs"][1:]] == list(score_text(MODEL, text).nats)
    assert logprobs["text_offset"] == list(range(len(text)))
    assert choices[-1]["finish_reason"] == "length"


def test_the_call_of_an_evaluation_harness(server: Running) -> None:
    """lm-eval's `local-completions`: lists of ids, echo, max_tokens 1; it knows greedy tokens by equal floats."""
    contexts = [LETTERS.encode(text) for text in ("abcabc", "jjjabcdefabc")]
    answer = server.post(COMPLETIONS, prompt=contexts, max_tokens=1, temperature=0, echo=True, logprobs=1, seed=1234)
    for ids, choice in zip(contexts, answer["choices"], strict=True):
        logprobs = choice["logprobs"]
        assert len(logprobs["token_logprobs"]) == len(logprobs["top_logprobs"]) == len(ids) + 1
        for logprob, top in list(zip(logprobs["token_logprobs"], logprobs["top_logprobs"], strict=True))[1:]:
            assert logprob in top.values()
            assert (logprob == max(top.values())) == (len(top) == 1)
        assert logprobs["token_logprobs"][-1] == max(logprobs["top_logprobs"][-1].values())  # the one drawn is greedy


def test_the_likeliest_tokens_are_those_of_the_model(server: Running) -> None:
    logprobs = server.post(COMPLETIONS, prompt="abc", max_tokens=1, logprobs=20, seed=1)["choices"][0]["logprobs"]
    (top,) = logprobs["top_logprobs"]
    logs = MODEL.predict(torch.tensor([LETTERS.encode("abc")]))[0, -1].log_softmax(-1)
    assert list(top) == [LETTERS.itos[int(idx)] for idx in logs.argsort(descending=True)]
    assert list(top.values()) == pytest.approx(sorted(logs.tolist(), reverse=True), abs=1e-5)
    assert math.fsum(map(math.exp, top.values())) == pytest.approx(1.0, abs=1e-5)
    none = server.post(COMPLETIONS, prompt="abc", max_tokens=1, logprobs=0, seed=1)["choices"][0]["logprobs"]
    assert none["top_logprobs"] == [dict(zip(none["tokens"], none["token_logprobs"], strict=True))]


def test_bytes_that_are_no_text_have_names_of_their_own(server: Running) -> None:
    asked = {"prompt": "né", "echo": True, "logprobs": 20, "max_tokens": 30, "seed": 1}
    choice = server.post(COMPLETIONS, model="byte", **asked)["choices"][0]
    names = choice["logprobs"]["tokens"]
    assert names[:3] == ["n", "bytes:\\xc3", "bytes:\\xa9"]
    assert all(len(top) in (20, 21) for top in choice["logprobs"]["top_logprobs"][1:])
    content = b"".join(bytes([int(name[8:], 16)]) if name.startswith("bytes:") else name.encode() for name in names)
    assert content.decode(errors="replace") == choice["text"]
    assert choice["logprobs"]["text_offset"][:4] == [0, 1, 1, 2]


def test_sixteen_streams_at_once_give_what_each_gives_alone(server: Running) -> None:
    bodies = [{"prompt": "ab"[: 1 + seed % 2], "max_tokens": 40, "seed": seed, "n": 1 + seed % 3} for seed in range(16)]

    def text(body: dict[str, Any]) -> list[str]:
        texts = [""] * body["n"]
        for event in server.stream(**body):
            for choice in event["choices"]:
                texts[choice["index"]] += choice["text"]
        return texts

    with ThreadPoolExecutor(16) as pool:
        together = list(pool.map(text, bodies))
    assert together == [
        expected(body["prompt"], max_new_tokens=40, temperature=1.0, seed=body["seed"], num_samples=body["n"])
        for body in bodies
    ]


def test_the_models_and_the_health(server: Running) -> None:
    status, _, content = server.ask("GET", "/v1/models")
    cards = json.loads(content)["data"]
    assert [(card["id"], card["object"], card["block_size"], card["n_layer"]) for card in cards] == [
        ("char", "model", 8, 2),
        ("byte", "model", 8, 2),
    ]
    assert (status, cards[0]["parameters"]) == (200, sum(w.numel() for w in MODEL.transformer.parameters()))
    assert [json.loads(server.ask("GET", f"/v1/models/{name}")[2]) for name in ("char", "byte")] == cards
    assert server.ask("GET", "/v1/models/none")[0] == 404
    assert json.loads(server.ask("GET", "/health")[2]) == {"status": "ok", "jobs": 0}


@pytest.mark.parametrize("text", ["a", "abcdefgh", "jjjjabcdefgh"])
def test_attention_is_that_of_the_tutorials_heads(server: Running, text: str) -> None:
    answer = server.post("/api/attention", text=text, layer=1)
    ids = LETTERS.encode(text)[-8:]
    assert answer["tokens"] == list(text[-8:])
    heads = torch.tensor(answer["heads"]) / 1000
    assert heads.shape == (2, len(ids), len(ids))
    torch.testing.assert_close(heads.sum(-1), torch.ones(2, len(ids)), rtol=0, atol=0.005)
    assert torch.equal(heads, heads.tril())
    twin = TransformerModel(MODEL.params, 11, fused=False)
    twin.load_state_dict(MODEL.transformer.state_dict())
    with torch.no_grad():
        x = twin.eval().blocks[0](twin.embed(torch.tensor([ids])))
        head = twin.blocks[1].sa.heads[1]  # type: ignore[union-attr,index]
        scores = (head.query(x) @ head.key(x).transpose(1, 2))[0] * 4**-0.5  # type: ignore[operator,union-attr]
    weights = scores.masked_fill(torch.ones(len(ids), len(ids)).tril() == 0, float("-inf")).softmax(-1)
    torch.testing.assert_close(heads[1], weights, rtol=0, atol=0.0006)


@pytest.mark.parametrize(
    "switches", [{}, {"norm": "pre", "norm_type": "rmsnorm", "position": "rotary", "qk_norm": True}], ids=str
)
def test_attention_is_that_of_the_whole_model_of_the_tutorial(switches: dict[str, Any]) -> None:
    """Of which the server builds one layer."""
    model = model_of(**switches)
    twin = TransformerModel(model.params, 11, fused=False)
    twin.load_state_dict(model.transformer.state_dict())
    seen: list[torch.Tensor] = []
    for head in twin.eval().blocks[1].sa.heads:  # type: ignore[union-attr]
        head.dropout.register_forward_hook(lambda _module, inputs, _output: seen.append(inputs[0][0]))
    with torch.no_grad():
        twin(torch.tensor([[1, 2, 3, 5, 8]]))
    before = torch.get_rng_state()
    (weights,) = attention_weights(model, [1, 2, 3, 5, 8], 1)
    torch.testing.assert_close(weights, torch.stack(seen))
    assert torch.equal(torch.get_rng_state(), before)


def test_so_many_tokens_that_their_weights_are_too_many_are_refused(
    server: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gptmodel.serving.attention.MOST_WEIGHTS", 2 * 6 * 6 + 1)
    assert len(server.post("/api/attention", text="abcdef")["tokens"]) == 6
    error = server.error("/api/attention", {"text": "abcdefg"}, 400)
    assert error["message"] == "text: has to have at most 6 tokens where there are 2 heads, not 7"


def test_a_text_that_was_not_trained_on_is_not_searched(server: Running) -> None:
    error = server.error("/api/copied", {"text": "abc"}, 404)
    assert error["message"].startswith("the training text of char is not here: ")


def test_what_is_copied_from_the_training_text(tmp_path: Path) -> None:
    (tmp_path / "input.txt").write_text("abcdefghij\njihgfedcba\naabbccddee\n" * 9, encoding="utf-8")
    prepare(tmp_path / "input.txt", tmp_path / "prepared", small_params().prepare)
    save_model(tmp_path / "m.pth", MODEL, {"data": load_prepared(tmp_path / "prepared").digests()})
    with running(Api(Shelf([str(tmp_path / "m.pth")], tmp_path / "prepared"))) as server:
        answer = server.post("/api/copied", text="aa jihgfedcba\na!jjjj")
        assert answer == {"spans": [{"start": 3, "end": 15, "length": 12}], "longest": 12}
        assert server.post("/api/copied", text="zzz") == {"spans": [], "longest": 0}
        assert "at most" not in server.error("/api/copied", {"text": ""}, 400)["message"]
        server.error("/api/copied", {"text": "a" * 65537}, 400)


def test_of_a_long_training_text_the_answer_says_how_much_was_searched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluation.memorisation, "MOST_BYTES", 1 << 20)
    (tmp_path / "input.txt").write_text("abcdefghij\n" * 110_000, encoding="utf-8")
    prepare(tmp_path / "input.txt", tmp_path / "prepared", small_params().prepare)
    save_model(tmp_path / "m.pth", MODEL, {"data": load_prepared(tmp_path / "prepared").digests()})
    (served,) = Shelf([str(tmp_path / "m.pth")], tmp_path / "prepared").models
    assert served.training_text is not None
    *_, answer = served.training_text.copied("zzz")
    assert answer == {"spans": [], "longest": 0, "first_mb": 1}


def test_a_long_text_is_searched_in_many_turns(tmp_path: Path) -> None:
    """So that who asked for it can go away, and another's is searched meanwhile."""
    (tmp_path / "input.txt").write_text("abcdefghij\n" * 30, encoding="utf-8")
    prepare(tmp_path / "input.txt", tmp_path / "prepared", small_params().prepare)
    for name in "mn":
        save_model(tmp_path / f"{name}.pth", MODEL, {"data": load_prepared(tmp_path / "prepared").digests()})
    served, other = Shelf([str(tmp_path / "m.pth"), str(tmp_path / "n.pth")], tmp_path / "prepared").models
    assert served.training_text is not None
    assert served.training_text is other.training_text  # which is in memory once
    *turns, answer = served.training_text.copied("ja" * 5000)
    assert answer == {"spans": [], "longest": 1}
    assert turns == [None] * len(turns)
    assert len(turns) >= 10


def test_names_of_models(tmp_path: Path) -> None:
    for name in ("one/model.pth", "two/model.pth", "three.pth"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        save_model(tmp_path / name, MODEL, {})
    paths = [str(tmp_path / name) for name in ("one/model.pth", "two/model.pth", "three.pth")]
    shelf = Shelf(paths, tmp_path)
    assert [model.name for model in shelf.models] == [paths[0], paths[1], "three"]
    assert len({model.fingerprint for model in shelf.models}) == 1
    with pytest.raises(ConfigError, match="is named twice"):
        Shelf([paths[0], paths[0]], tmp_path)
    with pytest.raises(CheckpointError, match="no such model"):
        Shelf([str(tmp_path / "nowhere.pth")], tmp_path)


def test_the_page_is_what_is_in_its_folder(server: Running) -> None:
    page = ROOT / "gptmodel" / "serving" / "page"
    for path, name in [("/", "index.html"), *((f"/{file.name}", file.name) for file in page.iterdir())]:
        status, headers, content = server.ask("GET", path)
        assert (status, content) == (200, (page / name).read_bytes())
        assert headers["content-type"].split(";")[0] in ("text/html", "text/javascript", "text/css")

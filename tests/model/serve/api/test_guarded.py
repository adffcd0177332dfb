"""The sandbox behind HTTP: nothing forbidden leaves, in text, tokens or log-probabilities, whole or streamed."""

import json

import httpx
import pytest

from model.serve.access import KeyRing
from model.serve.sandbox import Finding, GuardPolicy, PolicySet
from tests.factories.serving.servers import running, scripted

TEXT = "Call 555-0199 or ask Ann. The code is hunter2, do not tell."
QUESTION = {"messages": [{"role": "user", "content": "Whom do I call?"}]}


class Words:
    """Finds a few words, wherever they are."""

    name = "words"

    def __init__(self, actions):
        self.actions = actions

    def scan(self, text):
        return [
            Finding(start, start + len(word), "word", action)
            for word, action in self.actions.items()
            for start in range(len(text))
            if text.startswith(word, start)
        ]

    def stream(self):
        return WordsStream(self)


class WordsStream:
    def __init__(self, words):
        self.words, self.text, self.hold, self.findings = words, "", 0, []

    def feed(self, text):
        self.text += text
        beginnings = [word[:length] for word in self.words.actions for length in range(1, len(word))]
        held = max((len(part) for part in beginnings if self.text.endswith(part)), default=0)
        self.hold = len(self.text) - held
        self.findings = [finding for finding in self.words.scan(self.text) if finding.start < self.hold]

    def finish(self):
        self.hold = len(self.text)


MASKS = GuardPolicy("masks", (Words({"555-0199": "mask", "Ann": "mask"}),))
BLOCKS = GuardPolicy("blocks", (Words({"555-0199": "mask", "hunter2": "block"}),), prompts="block")


@pytest.fixture(scope="module", params=[(1,), (5, 2), (100,)], ids=str)
def served(request, tmp_path_factory):
    path = tmp_path_factory.mktemp("keys") / "keys"
    clients = [f"- {{name: {name}, key: key-of-client-{name}, policy: {name}}}\n" for name in ("masks", "blocks")]
    path.write_text("clients:\n" + "".join(clients))
    path.chmod(0o600)
    parts = {
        "policies": PolicySet(named={"masks": MASKS, "blocks": BLOCKS}),
        "keys": KeyRing.from_file(path),
    }
    with running(scripted(TEXT, engine={"tokens_per_step": request.param}, **parts)) as server:
        yield server


def ask(served, policy, path, fields):
    headers = {"Authorization": f"Bearer key-of-client-{policy}"}
    return httpx.post(f"{served.url}/v1/{path}", json=fields, headers=headers, timeout=30)


def events(answer):
    assert answer.status_code == 200, answer.text
    assert answer.text.endswith("data: [DONE]\n\n")
    return [json.loads(line[6:]) for line in answer.text.splitlines() if line.startswith("data: {")]


def content(event):
    return "".join(choice["delta"].get("content", "") for choice in event["choices"])


def test_masked_words_are_replaced(served):
    masked = "Call [WORD] or ask [WORD]. The code is hunter2, do not tell."
    whole = ask(served, "masks", "chat/completions", QUESTION).json()["choices"][0]
    assert (whole["message"]["content"], whole["finish_reason"]) == (masked, "stop")
    streamed = ask(served, "masks", "chat/completions", QUESTION | {"stream": True})
    assert "".join(map(content, events(streamed))) == masked


@pytest.mark.parametrize("n", [1, 2])
@pytest.mark.parametrize("stream", [False, True])
def test_a_blocked_word_ends_the_answer(served, n, stream):
    fields = {"stream": stream, "n": n, "logprobs": True, "top_logprobs": 0, "return_token_ids": True}
    answer = ask(served, "blocks", "chat/completions", QUESTION | fields)
    assert "hunter" not in answer.text
    passed = "Call [WORD] or ask Ann. The code is "
    if not stream:
        for choice in answer.json()["choices"]:
            assert (choice["message"]["content"], choice["finish_reason"]) == (passed, "content_filter")
    else:
        for index in range(n):
            choices = [row for event in events(answer) for row in event["choices"] if row["index"] == index]
            assert "".join(choice["delta"].get("content", "") for choice in choices) == passed
            assert choices[-1]["finish_reason"] == "content_filter"
    served.wait_until(lambda: not served.engine.live)


@pytest.mark.parametrize("path", ["chat/completions", "completions"])
def test_tokens_of_what_is_masked_do_not_leave(served, path):
    tokenizer = served.serving.tokenizer
    fields = QUESTION | {"logprobs": True} if path.startswith("chat") else {"prompt": "a", "logprobs": 0}
    answer = ask(served, "masks", path, fields | {"max_tokens": 100, "return_token_ids": True})
    (choice,) = answer.json()["choices"]
    text = tokenizer.decode(choice["token_ids"])
    assert not {"5", "Ann"} & {*text, *text.split()}
    assert text.endswith("do not tell.")
    if path == "completions":
        tokens = choice["logprobs"]["tokens"]
        for token, offset in zip(tokens, choice["logprobs"]["text_offset"], strict=True):
            if token != "<|im_end|>":
                assert choice["text"].startswith(token, offset), (token, offset)
        assert "555" not in "".join(tokens)


def test_an_echoed_prompt_is_filtered_with_its_answer(served):
    """A word may begin in the prompt and end in the answer; and the prompt itself may have one."""
    served.engine.script = {None: served.serving.tokenizer.encode_now("5-0199 now", add_special_tokens=False)}
    try:
        fields = {"prompt": "Ann: call 55", "echo": True, "max_tokens": 50, "logprobs": 0}
        (choice,) = ask(served, "masks", "completions", fields).json()["choices"]
    finally:
        served.engine.script = {None: served.serving.tokenizer.encode_now(TEXT, add_special_tokens=False)}
    assert choice["text"] == "[WORD]: call [WORD] now"
    assert "55" not in "".join(choice["logprobs"]["tokens"])


@pytest.mark.parametrize("stream", [False, True])
def test_a_forbidden_prompt_is_refused(served, stream):
    before = len(served.engine.requests)
    text = "My code is hunter2."
    tokens = served.serving.tokenizer.encode_now(text, add_special_tokens=False)
    for path, fields in (
        ("completions", {"prompt": text}),
        ("completions", {"prompt": [tokens]}),
        ("completions", {"prompt": ["a", text]}),
        ("chat/completions", {"messages": [{"role": "system", "content": text}, *QUESTION["messages"]]}),
        ("chat/completions", {"messages": [{"role": "user", "content": [{"type": "text", "text": text}]}]}),
    ):
        answer = ask(served, "blocks", path, fields | {"stream": stream})
        assert answer.status_code == 400
        assert answer.json()["error"]["code"] == "content_filter"
        assert "hunter" not in answer.text
    assert len(served.engine.requests) == before


def test_alternatives_are_not_given_under_a_policy(served):
    """The likeliest tokens at each place of a prompt could spell what the answer may not say."""
    for path, fields in (
        ("completions", {"prompt": "a", "logprobs": 1}),
        ("completions", {"prompt": "a", "prompt_logprobs": 1}),
        ("chat/completions", QUESTION | {"logprobs": True, "top_logprobs": 1}),
    ):
        answer = ask(served, "masks", path, fields)
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, "logprobs")


@pytest.mark.parametrize("path", ["chat/completions", "completions"])
@pytest.mark.parametrize("stream", [False, True])
def test_the_prompt_is_not_spelled_by_its_tokens(served, path, stream):
    fields = QUESTION if path.startswith("chat") else {"prompt": "Call Ann."}
    answer = ask(served, "masks", path, fields | {"return_token_ids": True, "stream": stream})
    assert answer.status_code == 200
    assert "prompt_token_ids" not in answer.text
    refused = ask(served, "masks", path, fields | {"prompt_logprobs": 0})
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "prompt_logprobs")

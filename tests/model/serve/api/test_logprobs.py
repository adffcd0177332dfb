"""Log-probabilities over HTTP are the engine's, to the last bit, and in the places where lm-eval looks for them."""

import httpx
import pytest

from tests.factories.serving.servers import running, scripted

TEXT = "The tenant 你好 must be given notice"


@pytest.fixture(scope="module")
def served():
    with running(scripted(engine={"tokens_per_step": (2, 1)})) as server:
        yield server


def completion(served, **fields):
    answer = httpx.post(f"{served.url}/v1/completions", json={"temperature": 0} | fields)
    assert answer.status_code == 200, answer.text
    return answer.json()


def ids(served, text=TEXT):
    return served.serving.tokenizer.encode_now(text, add_special_tokens=False)


@pytest.mark.parametrize("max_tokens", [0, 1, 5])
def test_echo_with_logprobs_is_the_prompt_and_its_answer(served, max_tokens):
    prompts = [ids(served), ids(served, "A fever fell."), [5]]
    answer = completion(served, prompt=prompts, echo=True, logprobs=1, max_tokens=max_tokens)
    engine, tokenizer = served.engine, served.serving.tokenizer
    for choice, prompt in zip(answer["choices"], prompts, strict=True):
        logprobs = choice["logprobs"]
        values, top = logprobs["token_logprobs"], logprobs["top_logprobs"]
        assert len(values) == len(top) == len(logprobs["tokens"]) == len(logprobs["text_offset"])
        assert len(prompt) + max_tokens >= len(values) >= len(prompt) + min(max_tokens, 1)
        assert (values[0], top[0]) == (None, None)
        for place in range(1, len(prompt)):
            expected = engine.logprob(prompt[:place], prompt[place], 1)
            assert values[place] == expected.logprob
            is_greedy = values[place] == max(top[place].values())
            assert is_greedy == (expected.top[0][0] == prompt[place])
        if max_tokens:
            assert values[len(prompt)] == max(top[len(prompt)].values())  # it was drawn at temperature 0
        text = tokenizer.decode(prompt)
        assert choice["text"].startswith(text)
        assert max_tokens or (choice["text"], choice["finish_reason"]) == (text, "length")
    assert answer["usage"]["completion_tokens"] == (0 if not max_tokens else 3 * max_tokens)


def test_the_last_token_has_its_place_where_it_ends_the_text(served):
    """lm-eval drops the last entry, whatever it is."""
    engine, prompt = served.engine, ids(served)
    engine.script = {tuple(prompt): [engine.end]}
    try:
        (choice,) = completion(served, prompt=[prompt], echo=True, logprobs=1, max_tokens=1)["choices"]
    finally:
        engine.script = {}
    assert len(choice["logprobs"]["token_logprobs"]) == len(prompt) + 1
    assert choice["text"] == TEXT
    assert choice["finish_reason"] == "stop"


def test_offsets_are_those_of_the_text(served):
    for prompt in (TEXT, ids(served)):
        (choice,) = completion(served, prompt=prompt, echo=True, logprobs=0, max_tokens=6)["choices"]
        for token, offset in zip(choice["logprobs"]["tokens"], choice["logprobs"]["text_offset"], strict=True):
            if not token.startswith("bytes:") and token not in served.serving.tokenizer.wrapped.all_special_tokens:
                assert choice["text"].startswith(token, offset), (token, offset)


def test_streamed_logprobs_are_those_of_the_whole(served):
    fields = {"prompt": TEXT, "echo": True, "logprobs": 3, "max_tokens": 7, "temperature": 0}
    (whole,) = completion(served, **fields)["choices"]
    merged = {name: [] for name in whole["logprobs"]}
    text = ""
    with httpx.stream("POST", f"{served.url}/v1/completions", json=fields | {"stream": True}) as answer:
        for line in answer.iter_lines():
            if line.startswith("data: {"):
                (choice,) = httpx.Response(200, content=line[6:]).json()["choices"]
                text += choice["text"]
                for name, values in (choice["logprobs"] or {}).items():
                    merged[name] += values
    assert (text, merged) == (whole["text"], whole["logprobs"])


def test_two_tokens_of_one_text_keep_the_likelier(served):
    """All values of the best tokens may be compared with their highest, which lm-eval does."""
    prompt = ids(served)
    (choice,) = completion(served, prompt=prompt, echo=True, logprobs=20, max_tokens=1)["choices"]
    for place in range(1, len(prompt)):
        best = served.engine.logprob(prompt[:place], prompt[place], 1).top[0][1]
        assert max(choice["logprobs"]["top_logprobs"][place].values()) == best


def test_prompt_logprobs_are_by_token_id(served):
    prompt = ids(served, "A fever fell.")
    (choice,) = completion(served, prompt=prompt, prompt_logprobs=2, max_tokens=1)["choices"]
    rows = choice["prompt_logprobs"]
    assert rows[0] is None
    assert len(rows) == len(prompt)
    for place in range(1, len(prompt)):
        expected = served.engine.logprob(prompt[:place], prompt[place], 2)
        assert rows[place][str(prompt[place])]["logprob"] == expected.logprob
        assert [rows[place][str(token)]["rank"] for token, _ in expected.top] == [1, 2]


def test_a_stop_string_cuts_text_tokens_and_logprobs_at_one_place(served):
    engine, tokenizer = served.engine, served.serving.tokenizer
    engine.script = {None: ids(served, "one two\nQuestion: three")}
    try:
        (choice,) = completion(
            served, prompt="a", max_tokens=50, stop=["Question:"], logprobs=0, extra=None, return_token_ids=True
        )["choices"]
    finally:
        engine.script = {}
    assert (choice["text"], choice["finish_reason"]) == ("one two\n", "stop")
    assert tokenizer.decode(choice["token_ids"]) == "one two\n"
    assert len(choice["logprobs"]["tokens"]) == len(choice["token_ids"])

"""A real model behind the real server: lm-eval over HTTP gives what the model's own logits say, in batches too."""

import random
from concurrent.futures import ThreadPoolExecutor

import httpx
import numpy as np
import pytest

torch = pytest.importorskip("torch")
from lm_eval.api.instance import Instance  # noqa: E402
from lm_eval.models.huggingface import HFLM  # noqa: E402
from lm_eval.models.openai_completions import LocalChatCompletion, LocalCompletionsAPI  # noqa: E402

from model.serve.api.serving import Serving  # noqa: E402
from model.serve.api.text.tokenizer import Tokenizer  # noqa: E402
from model.serve.embedded import EmbeddedEngine, EmbeddedOptions  # noqa: E402
from tests.factories.serving import tokenizers  # noqa: E402
from tests.factories.serving.servers import running  # noqa: E402
from tests.factories.serving.tiny_models import save_dsa  # noqa: E402

pytestmark = pytest.mark.weights
PAIRS = [
    ("The tenant must be given", " notice of thirty days"),
    ("A patient with a fever of 39 °C was treated with", " paracetamol, and the fever fell."),
    ("naïve café über straße,", " 你好"),
    ("the lease ends", "."),
]


@pytest.fixture(scope="module")
def network_and_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("served") / "model"
    tokenizer = tokenizers.byte_level()
    network = save_dsa(folder, vocab_size=len(tokenizer), eos_token_id=tokenizer.eos_token_id)
    tokenizers.save(tokenizer, folder)
    return network, folder


@pytest.fixture(scope="module")
def served(network_and_folder):
    _, folder = network_and_folder
    engine = EmbeddedEngine(folder, EmbeddedOptions(slots=4, prefill_tokens=16, threads=1))
    with running(Serving(engine, Tokenizer.from_folder(folder), "tiny")) as server:
        yield server


def log_p(network, tokens):
    """Log-probabilities of every next token, [T, V], by one forward pass."""
    with torch.no_grad():
        return network(torch.tensor([tokens])).logits[0].log_softmax(-1)


def generated(network, prompt, count):
    output = network.generate(
        torch.tensor([prompt]),
        max_new_tokens=count,
        do_sample=False,
        eos_token_id=network.config.eos_token_id,
        pad_token_id=0,
    )
    return output[0, len(prompt) :].tolist()


def instances(kind, rows):
    return [Instance(kind, {}, row, number) for number, row in enumerate(rows)]


@pytest.mark.parametrize("batch_size", [1, 3])
def test_loglikelihoods_are_those_of_the_model(served, network_and_folder, batch_size):
    network, _ = network_and_folder
    api = LocalCompletionsAPI(
        model="tiny",
        base_url=f"{served.url}/v1/completions",
        tokenizer_backend="auto",
        max_length=200,
        batch_size=batch_size,
    )
    assert api.tokenizer_backend == "remote"  # lm-eval has found /tokenize
    encode = served.serving.tokenizer.wrapped.encode
    answers = api.loglikelihood(instances("loglikelihood", PAIRS))
    for (context, text), (value, is_greedy) in zip(PAIRS, answers, strict=True):
        before, after = encode(context), encode(text)
        expected = log_p(network, before + after)[len(before) - 1 : -1]
        chosen = expected.gather(1, torch.tensor(after)[:, None]).sum()
        assert value == pytest.approx(float(chosen), abs=1e-3)
        assert is_greedy == (expected.argmax(-1).tolist() == after)


def test_lm_eval_over_http_equals_lm_eval_hf(served, network_and_folder):
    network, _ = network_and_folder
    # its API model takes one token less for the one that it generates, and one for the context of a window
    hf = HFLM(network, tokenizer=served.serving.tokenizer.wrapped, device="cpu", batch_size=1, max_length=198)
    url = f"{served.url}/v1/completions"
    api = LocalCompletionsAPI(model="tiny", base_url=url, tokenizer_backend="remote", max_length=200, batch_size=2)
    options = {"max_gen_toks": 10, "temperature": 0, "do_sample": False, "until": ["e", "\n\n"]}
    texts = [(f"{context}{text}",) for context, text in PAIRS]
    for kind, rows in (("loglikelihood", PAIRS), ("loglikelihood_rolling", [*texts, (" ".join(sum(texts, ())) * 3,)])):
        expected, answers = (np.array(getattr(lm, kind)(instances(kind, rows))) for lm in (hf, api))
        np.testing.assert_allclose(answers, expected, atol=2e-3)
    prompts = instances("generate_until", [(context, options) for context, _ in PAIRS])
    assert api.generate_until(prompts, True) == hf.generate_until(prompts, True)


def test_what_is_greedy_is_seen_as_greedy(served, network_and_folder):
    network, _ = network_and_folder
    prompt = served.serving.tokenizer.wrapped.encode("the lease ends")
    answer = generated(network, prompt, 6)
    body = {"prompt": [prompt + answer], "echo": True, "logprobs": 1, "max_tokens": 1, "temperature": 0}
    (choice,) = httpx.post(f"{served.url}/v1/completions", json=body).json()["choices"]
    values, top = choice["logprobs"]["token_logprobs"], choice["logprobs"]["top_logprobs"]
    for place in range(len(prompt), len(prompt) + len(answer)):
        assert values[place] == max(top[place].values())  # exact: lm-eval compares so


def test_generated_texts_are_those_of_the_model(served, network_and_folder):
    network, _ = network_and_folder
    tokenizer = served.serving.tokenizer
    options = {"max_gen_toks": 12, "temperature": 0, "until": ["never in the text"]}
    api = LocalCompletionsAPI(
        model="tiny", base_url=f"{served.url}/v1/completions", tokenizer_backend="remote", max_length=200, batch_size=2
    )
    texts = api.generate_until(instances("generate_until", [(context, options) for context, _ in PAIRS]), True)
    for (context, _), text in zip(PAIRS, texts, strict=True):
        assert text == tokenizer.decode(generated(network, tokenizer.wrapped.encode(context), 12))


def test_chats_are_those_of_the_model(served, network_and_folder):
    network, _ = network_and_folder
    tokenizer = served.serving.tokenizer
    api = LocalChatCompletion(model="tiny", base_url=f"{served.url}/v1/chat/completions", eos_string="<|im_end|>")
    messages = [{"role": "user", "content": "How long is the notice?"}]
    options = {"max_gen_toks": 12, "temperature": 0, "until": ["never in the text"]}
    (text,) = api.generate_until(instances("generate_until", [(api.apply_chat_template(messages), options)]), True)
    prompt = tokenizer.wrapped.apply_chat_template(messages, add_generation_prompt=True, return_dict=True)["input_ids"]
    assert text == tokenizer.decode(generated(network, prompt, 12))


def test_answers_at_the_same_time_are_not_mixed_up(served, network_and_folder):
    """More streams than slots, chunked prompts beside decoding; each text is the one that its prompt gives alone."""
    network, _ = network_and_folder
    tokenizer = served.serving.tokenizer
    random_ = random.Random(0)
    prompts = [[random_.randrange(3, 320) for _ in range(length)] for length in (1, 3, 21, 60, 4, 37, 90, 2, 16, 55)]

    def stream(prompt):
        body = {"prompt": prompt, "max_tokens": 10, "temperature": 0, "stream": True}
        text = ""
        with httpx.stream("POST", f"{served.url}/v1/completions", json=body, timeout=60) as answer:
            for line in answer.iter_lines():
                if line.startswith("data: {"):
                    text += httpx.Response(200, content=line[6:]).json()["choices"][0]["text"]
        return text

    with ThreadPoolExecutor(len(prompts)) as pool:
        texts = list(pool.map(stream, prompts))
    for prompt, text in zip(prompts, texts, strict=True):
        assert text == tokenizer.decode(generated(network, prompt, 10))
    stats = served.engine.stats()
    assert (stats.running, stats.waiting) == (0, 0)
    assert stats.sparse_steps > 0

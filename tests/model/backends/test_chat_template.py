"""Chat templates that cannot do what is asked of them: found before a run, named, and worked around where possible."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from configs import schema
from configs.errors import ConfigError
from configs.load import load
from model.backends import get, identify
from model.backends.chat_template import ChatTemplate
from model.backends.lora.examples import read_examples
from model.backends.prompt import Prompts
from pipeline.run.resolve import resolve_models
from stages.answers import read_completion
from stages.ports import Completion
from tests.factories import chat_templates
from tests.factories.requests import ask

pytestmark = pytest.mark.weights

SMOL = "smollm2-135m-instruct"
USER = {"role": "user", "content": "What is a lease?"}
SYSTEM = {"role": "system", "content": "Answer in a word."}
ANSWER = {"role": "assistant", "content": "A contract."}


@pytest.fixture(scope="module")
def folder() -> Path:
    return Path(identify(schema.Generator(backend="transformers", model=SMOL)).path)


@pytest.fixture
def tokenizer(folder: Path) -> Any:
    from transformers import PreTrainedTokenizerFast

    return PreTrainedTokenizerFast.from_pretrained(folder, local_files_only=True)


def opened(tokenizer: Any, template: str | None, **options: object) -> ChatTemplate:
    tokenizer.chat_template = template
    return ChatTemplate(tokenizer, options, "mine")


@pytest.mark.parametrize(
    ("template", "reason"),
    [
        (None, "mine has no chat template.*chat_template.jinja"),
        ("", "mine has no chat template"),
        (chat_templates.NEEDS_VARIABLE, "cannot render a question .*persona.*chat_template_kwargs"),
        (chat_templates.LEAVES_OUT_USER, "leaves the user's message out"),
        (chat_templates.BROKEN, "cannot render a question"),
        ("{{ raise_exception('ask the vendor') }}", "ask the vendor"),
    ],
)
def test_a_template_without_use_is_an_error_that_names_it(tokenizer: Any, template: str | None, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        opened(tokenizer, template)


def test_variables_of_a_template_are_set_by_the_config(tokenizer: Any) -> None:
    template = opened(tokenizer, chat_templates.NEEDS_VARIABLE, persona={"name": "Ada"})
    assert template.text([USER], answer_next=True).startswith("Ada<|im_start|>user")


@pytest.mark.parametrize("name", ["REFUSES_SYSTEM", "IGNORES_SYSTEM", "ALTERNATES"])
def test_a_system_message_that_is_not_taken_goes_before_the_users(tokenizer: Any, name: str) -> None:
    template = opened(tokenizer, getattr(chat_templates, name))
    assert not template.traits().takes_system
    merged = USER | {"content": f"{SYSTEM['content']}\n\n{USER['content']}"}
    for rest in ([], [ANSWER]):
        asked = [SYSTEM, USER, *rest]
        expected = template.tokens([merged, *rest], answer_next=not rest)
        assert template.tokens(asked, answer_next=not rest) == expected


def test_a_template_that_takes_parts_gets_parts(tokenizer: Any) -> None:
    parts = opened(tokenizer, chat_templates.TAKES_PARTS).tokens([SYSTEM, USER], answer_next=True)
    assert parts == opened(tokenizer, chat_templates.CHATML).tokens([SYSTEM, USER], answer_next=True)


@pytest.mark.parametrize(
    ("name", "options", "prompt_end", "answer"),
    [
        ("CHATML", {}, "<|im_start|>assistant\n", "A contract.<|im_end|>\n"),
        ("THINKS", {}, "<|im_start|>assistant\n<think>\n\n</think>\n\n", "A contract.<|im_end|>\n"),
        ("SWITCHED", {}, "<|im_start|>assistant\n", "<think>\n\n</think>\n\nA contract.<|im_end|>\n"),
        (
            "SWITCHED",
            {"enable_thinking": False},
            "<|im_start|>assistant\n<think>\n\n</think>\n\n",
            "A contract.<|im_end|>\n",
        ),
        ("CHANNELS", {}, "<|im_start|>assistant", "<|channel|>final<|message|>A contract.<|im_end|>"),
        ("ALTERNATES", {}, " [/INST]", "A contract.<|im_end|>"),
    ],
)
def test_an_answer_to_learn_is_behind_the_prompt_that_the_generator_gets(
    tokenizer: Any, name: str, options: dict, prompt_end: str, answer: str
) -> None:
    template = opened(tokenizer, getattr(chat_templates, name), **options)
    conversation = template.conversation([USER, ANSWER])
    assert conversation is not None
    prompt, learnt = map(tokenizer.decode, conversation)
    assert prompt.endswith(prompt_end)
    assert prompt.startswith(tokenizer.decode(template.tokens([USER], answer_next=True)))
    assert learnt == answer


def test_a_trainer_learns_from_a_template_that_begins_thoughts(folder: Path, tokenizer: Any) -> None:
    """No row of it fits what the template renders."""
    for template in (chat_templates.THINKS, chat_templates.SWITCHED):
        tokenizer.chat_template = template
        read = ChatTemplate(tokenizer, {"enable_thinking": False}, "mine")
        (example,) = read_examples(read, [[USER, ANSWER], [ANSWER], [USER, ANSWER | {"content": " "}]], 512)
        text = tokenizer.decode(example.ids)
        assert text.endswith("</think>\n\nA contract.<|im_end|>\n")
        assert tokenizer.decode(example.ids[-example.answer_tokens :]) == "A contract.<|im_end|>\n"


@pytest.mark.parametrize(
    ("name", "before"),
    [
        ("CHATML", ""),
        ("THINKS", "\n</think>\n\n"),
        ("SWITCHED", "<think>\n\n</think>\n\n"),
        ("CHANNELS", "<|channel|>final<|message|>"),
    ],
)
def test_a_given_beginning_and_a_scored_answer_are_not_thoughts(tokenizer: Any, name: str, before: str) -> None:
    tokenizer.chat_template = getattr(chat_templates, name)
    prompts = Prompts(tokenizer, 512, {}, "mine")
    asked = tokenizer.decode(prompts.tokens(ask("Why?")))
    assert (
        tokenizer.decode(prompts.tokens(ask("Why?", begin="Since"))).removesuffix("Since").rstrip()
        == (asked + before).rstrip()
    )
    assert tokenizer.decode(prompts.tokens(ask("Why?", scored="Since"))).rstrip() == (asked + before).rstrip()
    guided = Prompts(tokenizer, 512, {}, "mine", guided=True)
    assert tokenizer.decode(guided.tokens(ask("Why?", json_schema="{}"))) == asked + before
    assert tokenizer.decode(prompts.tokens(ask("Why?", json_schema="{}"))) == asked


@pytest.mark.parametrize(
    ("name", "written", "text", "reason"),
    [
        ("THINKS", "Let me look.\n</think>\n\nA contract.", "A contract.", "stop"),
        ("THINKS", "Let me look. It is a contract.", "", "thoughts"),
        ("CHATML", "<think>Let me look.</think>A contract.", "A contract.", "stop"),
        ("CHATML", "A contract.<|im_end|>\n<|im_start|>user\nAnd then?", "A contract.", "stop"),
        ("CHATML", "A contract.<|endoftext|>Another text.", "A contract.", "stop"),
        ("CHATML", "A<repo_name> contract.", "A contract.", "stop"),
        ("CHATML", "A contract.", "A contract.", "stop"),
    ],
)
def test_what_a_local_model_writes_is_read_as_a_services_answer(
    tokenizer: Any, name: str, written: str, text: str, reason: str
) -> None:
    tokenizer.chat_template = getattr(chat_templates, name)
    prompts = Prompts(tokenizer, 512, {}, "mine")
    tokens = tokenizer(written, add_special_tokens=False)["input_ids"]
    completion = read_completion(Completion(prompts.answer_text(tokens, at_once=False), 9, 9, "stop"))
    assert (completion.text, completion.finish_reason) == (text, reason)


def model_folder(folder: Path, target: Path, template: str | None) -> Path:
    """A copy of a model's folder with another chat template; its weights are links."""
    target.mkdir()
    for path in folder.iterdir():
        if path.suffix == ".safetensors":
            (target / path.name).symlink_to(path)
        elif path.name not in ("chat_template.jinja", "tokenizer_config.json"):
            shutil.copy(path, target)
    settings = json.loads((folder / "tokenizer_config.json").read_text("utf-8"))
    settings.pop("chat_template", None)
    (target / "tokenizer_config.json").write_text(json.dumps(settings), "utf-8")
    if template is not None:
        (target / "chat_template.jinja").write_text(template, "utf-8")
    return target


@pytest.mark.parametrize("backend", ["transformers", "vllm"])
def test_a_folder_without_a_template_is_found_before_a_run(folder: Path, tmp_path: Path, backend: str) -> None:
    model = model_folder(folder, tmp_path / "base", None)
    config = load("echo", [f"generator.backend={backend}", f"generator.model={model}"])
    with pytest.raises(ConfigError, match=r"generator\.model: base has no chat template"):
        resolve_models(config)
    (model / "chat_template.jinja").write_text(chat_templates.CHATML, "utf-8")
    assert resolve_models(config).notices == ()


def test_a_folder_without_a_tokenizer_is_found_before_a_run(folder: Path, tmp_path: Path) -> None:
    model = model_folder(folder, tmp_path / "bare", None)
    (model / "tokenizer.json").write_text("{}", "utf-8")
    config = load("echo", ["generator.backend=transformers", f"generator.model={model}"])
    with pytest.raises(ConfigError, match=r"the tokenizer of bare cannot be loaded"):
        resolve_models(config)


@pytest.mark.parametrize(
    ("name", "options", "notice"),
    [
        ("CHATML", {}, None),
        ("REFUSES_SYSTEM", {}, "takes no system message"),
        ("THINKS", {}, "mine thinks before it answers.*higher sampling.max_tokens"),
        ("SWITCHED", {}, r"chat_template_kwargs: \{enable_thinking: false\}"),
        ("SWITCHED", {"enable_thinking": False}, None),
    ],
)
def test_what_a_template_does_is_said_before_a_run(
    folder: Path, tmp_path: Path, name: str, options: dict, notice: str | None
) -> None:
    model = model_folder(folder, tmp_path / "mine", getattr(chat_templates, name))
    config = schema.Generator(backend="transformers", model=str(model), chat_template_kwargs=options)
    card = identify(config)
    first = get("transformers").inspect_prompts(config, card)
    assert get("transformers").inspect_prompts(config, card) == first  # remembered
    if notice is None:
        assert first == []
    else:
        assert len(first) == 1
        assert re.search(notice, first[0])

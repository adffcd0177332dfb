"""The chat template of a model whose tokenizer has none: conversations are what the model was trained on."""

import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("transformers")

from model.backends.chat_template import ChatTemplate
from model.data.vocabulary import PLAIN_TEMPLATE, Vocabulary
from model.serve.api.text.tokenizer import Tokenizer
from tests.factories.chat_templates import CHATML
from tests.factories.serving.byte_llama import save_byte_tokenizer

pytestmark = pytest.mark.weights
CONVERSATION = [
    {"role": "system", "content": "Be short."},
    {"role": "user", "content": "Who pays?\n- the tenant\n- the landlord"},
    {"role": "assistant", "content": "The tenant."},
    {"role": "user", "content": "When?"},
    {"role": "assistant", "content": "In March: é 𝔘."},
]


@pytest.fixture
def vocabulary(tmp_path: Path) -> Vocabulary:
    save_byte_tokenizer(tmp_path / "tokenizer")
    return Vocabulary.open(tmp_path / "tokenizer", "</s>")


def saved(vocabulary: Vocabulary, folder: Path) -> Any:
    from transformers import AutoTokenizer

    folder.mkdir()
    vocabulary.save(folder)
    return AutoTokenizer.from_pretrained(folder)


def text_of(messages: list[dict[str, str]]) -> str:
    """As the data engine joins a row's messages to its `text`."""
    return "\n\n".join(message["content"] for message in messages)


def test_a_conversation_is_the_document_that_the_model_is_trained_on(vocabulary: Vocabulary, tmp_path: Path) -> None:
    tokenizer = saved(vocabulary, tmp_path / "model")
    whole = tokenizer.apply_chat_template(CONVERSATION, return_dict=True)["input_ids"]
    assert whole == [*vocabulary.open_tokenizer().encode(text_of(CONVERSATION)).ids, vocabulary.eos]
    asked = tokenizer.apply_chat_template(CONVERSATION[:-1], add_generation_prompt=True, return_dict=True)["input_ids"]
    assert tokenizer.decode(asked) == text_of(CONVERSATION[:-1]) + "\n\n"
    assert whole[: len(asked)] == asked


def test_generators_and_servers_take_it(vocabulary: Vocabulary, tmp_path: Path) -> None:
    template = ChatTemplate(saved(vocabulary, tmp_path / "model"), {}, "mine")
    assert template.takes_system
    assert not template.opened
    conversation = template.conversation(CONVERSATION)
    assert conversation is not None
    assert conversation[1][-1] == vocabulary.eos
    assert Tokenizer.from_folder(tmp_path / "model").has_chat_template


def test_a_template_of_the_tokenizers_own_is_kept(vocabulary: Vocabulary, tmp_path: Path) -> None:
    assert saved(vocabulary, tmp_path / "plain").chat_template == PLAIN_TEMPLATE
    again = Vocabulary.open(tmp_path / "plain")
    assert saved(again, tmp_path / "again").chat_template == PLAIN_TEMPLATE
    file = tmp_path / "tokenizer" / "chat_template.jinja"
    file.write_text(CHATML)
    assert saved(vocabulary, tmp_path / "file").chat_template == CHATML
    file.unlink()
    settings = tmp_path / "tokenizer" / "tokenizer_config.json"
    settings.write_text(json.dumps(json.loads(settings.read_text()) | {"chat_template": CHATML}))
    assert saved(vocabulary, tmp_path / "settings").chat_template == CHATML

"""Adapters: the loss on held-out rows falls, the folder is whole and named by its hash, and generators load it."""

import hashlib
import json
import math
from pathlib import Path

import pytest
from transformers import AutoTokenizer

from configs import schema
from model.backends import identify, open_generator, open_trainer
from model.backends.chat_template import ChatTemplate
from model.backends.lora.examples import read_examples, read_pairs
from stages.ports import AdapterTrainer, ModelCard, Preference, Request, Training
from tests.factories.serving.byte_llama import save_byte_chat

pytestmark = pytest.mark.weights

SMOL = "smollm2-135m-instruct"
ROWS = [
    [
        {"role": "user", "content": f"What does article {number} ask for?"},
        {
            "role": "assistant",
            "content": f"Article {number} asks for a written record kept for {number} years. Verily!",
        },
    ]
    for number in range(2, 22)
]


def config(backend: str) -> schema.Generator:
    return schema.Generator(backend=backend, model=SMOL, max_model_len=256, batch_size=4)  # type: ignore[arg-type]


def trainer(backend: str, **options) -> AdapterTrainer:
    lora = schema.Lora(**{"max_tokens": 600, "batch_rows": 4, "learning_rate": 2e-3, **options})
    made = open_trainer(lora, identify(config(backend)), 1, 17)
    assert made is not None
    return made


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Training:
    return trainer("transformers").train("law", ROWS[:16], ROWS[16:], tmp_path_factory.mktemp("adapters"))


def whole(training: Training, folder: Path, *, base: str) -> None:
    path = Path(training.adapter.path)
    assert {found.name for found in path.iterdir()} == {
        "adapter_model.safetensors",
        "adapter_config.json",
        "training.json",
    }
    data = (path / "adapter_model.safetensors").read_bytes() + (path / "adapter_config.json").read_bytes()
    assert hashlib.sha256(data).hexdigest() == training.adapter.sha256 == path.name
    assert training.adapter.name == f"law@{training.adapter.sha256}"
    assert json.loads((path / "adapter_config.json").read_text())["base_model_name_or_path"] == base
    card = json.loads((path / "training.json").read_text())
    assert card["loss_after"] == training.loss_after
    assert card["adapter"] == {"name": training.adapter.name, "sha256": training.adapter.sha256}
    assert [found.name for found in folder.iterdir()] == [path.name]


@pytest.mark.slow
def test_the_loss_on_held_out_rows_falls(trained: Training) -> None:
    assert trained.loss_after < trained.loss_before - 0.3
    assert (trained.train_rows, trained.held_out_rows) == (12, 4)  # max_tokens are used up before all rows are
    assert 600 <= trained.tokens < 600 + 4 * 60
    assert 0.005 < trained.trainable_parameters / trained.total_parameters < 0.015


@pytest.mark.slow
def test_the_folder_is_whole_and_the_same_everywhere(trained: Training) -> None:
    whole(trained, Path(trained.adapter.path).parent, base=SMOL)


def test_training_repeats(tmp_path: Path) -> None:
    made = open_trainer(schema.Lora(max_tokens=600, batch_rows=4, learning_rate=2e-3), save_byte_chat(tmp_path), 1, 17)
    assert made is not None
    first, second = (made.train("law", ROWS[:6], ROWS[6:8], tmp_path / name) for name in ("a", "b"))
    assert first.adapter.sha256 == second.adapter.sha256
    assert first.loss_after < first.loss_before
    assert (first.loss_before, first.loss_after) == (second.loss_before, second.loss_after)


@pytest.mark.slow
def test_the_generator_speaks_with_it(trained: Training) -> None:
    made = open_generator(config("transformers"), identify(config("transformers")), 1)
    sampling = schema.Sampling(temperature=0, max_tokens=16)
    adapters = [None, trained.adapter, None]
    requests = [
        Request(str(index), (ROWS[18][0],), sampling, 1, adapter=adapter) for index, adapter in enumerate(adapters)
    ]
    base, adapted, base_again = made.generate(requests)
    assert adapted.text.startswith("Article 20 asks for")
    assert base.text == base_again.text != adapted.text
    assert made.generate(requests[:1])[0] == base, "the adapter stays on after its requests"
    made.close()


def test_long_rows_are_cut_and_odd_ones_left_out() -> None:
    long = [
        {"role": "user", "content": "word " * 400},
        {"role": "assistant", "content": "yes " * 100},
    ]
    tokenizer = AutoTokenizer.from_pretrained(identify(config("transformers")).path)
    template = ChatTemplate(tokenizer, {}, SMOL)
    examples = read_examples(template, [long, ROWS[0], [{"role": "assistant", "content": ""}]], 64)
    assert [len(example.ids) <= 64 for example in examples][:2] == [True, True]
    assert tokenizer.decode(examples[1].ids[-examples[1].answer_tokens :]).startswith("Article 2 asks")
    odd = [{"role": "user", "content": "Why?"}]
    (pair,) = read_pairs(template, [Preference(odd, "", "yes"), Preference(long[:1], "yes " * 100, "no " * 20)], 64)
    assert (len(pair.chosen.ids), pair.chosen.answer_tokens) == (64, 63)
    assert pair.rejected.ids[: -pair.rejected.answer_tokens] == pair.chosen.ids[: -pair.chosen.answer_tokens]


def test_echo_trains_without_tensors(tmp_path: Path) -> None:
    made = trainer("echo", max_tokens=10_000)
    training = made.train("law", ROWS[:16], ROWS[16:], tmp_path)
    whole(training, tmp_path, base=SMOL)
    assert training.loss_after < training.loss_before
    assert training.loss_before == pytest.approx(math.log(training.total_parameters))
    assert made.train("law", ROWS[:16], ROWS[16:], tmp_path) == training


def test_echo_learns_preferences_and_keeps_the_better_step(tmp_path: Path) -> None:
    made = trainer("echo", max_tokens=10_000)
    asked = [{"role": "user", "content": "Why?"}]
    pairs = [Preference(asked, f"It holds for case {n}.", f"Nobody knows about case {n}.") for n in range(20)]
    first = made.train("law", ROWS[:16], ROWS[16:], tmp_path, keep_best=True)
    assert (first.steps, first.best_step) == (1, 1)
    training = made.prefer("law", pairs[:16], pairs[16:], tmp_path, first.adapter)
    assert training.accuracy == 1.0
    assert training.loss_after < training.loss_before
    assert training.adapter.sha256 != first.adapter.sha256
    unlike = made.train(
        "law", ROWS[:16], [[*asked, {"role": "assistant", "content": "Alpha beta."}]], tmp_path, keep_best=True
    )
    assert unlike.best_step == 0
    assert unlike.loss_after == unlike.loss_before


def test_a_service_trains_nothing() -> None:
    assert open_trainer(schema.Lora(), ModelCard("m", "0" * 64, "openai", "", 0), 1, 17) is None

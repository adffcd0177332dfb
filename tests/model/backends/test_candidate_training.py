"""Training of candidates: the best step is kept, preferences are learnt, and what makes the model worse is refused."""

import json
import math
import shutil
from pathlib import Path

import pytest

from configs.errors import InputError
from configs.schema import Lora
from model.backends.lora import LoraTrainer, PreferenceOptions
from stages.ports import Adapter, ModelCard, Preference, Training, TrainingRefused
from tests.factories.serving.byte_llama import save_byte_chat

pytestmark = pytest.mark.weights

TRAIN, HELD_OUT = range(10, 26), range(26, 32)
MAX_TOKENS = 6000  # 23 steps


def trainer_of(
    card: ModelCard, learning_rate: float, max_tokens: int = MAX_TOKENS, preference: PreferenceOptions | None = None
) -> LoraTrainer:
    options = Lora(max_tokens=max_tokens, batch_rows=8, epochs=100, parameter_share=0.2, learning_rate=learning_rate)
    return LoraTrainer(options, card, 1, 17, preference=preference)


def asked(number: int) -> dict[str, str]:
    return {"role": "user", "content": f"Q{number}?"}


def rows(numbers: range, word: str) -> list[list[dict[str, str]]]:
    return [[asked(number), {"role": "assistant", "content": f"{word} {number}."}] for number in numbers]


def pairs(numbers: range, chosen: str, rejected: str) -> list[Preference]:
    return [Preference([asked(n)], f"{chosen} {n}.", f"{rejected} {n}.") for n in numbers]


@pytest.fixture(scope="module")
def card(tmp_path_factory: pytest.TempPathFactory) -> ModelCard:
    return save_byte_chat(tmp_path_factory.mktemp("byte-chat"))


@pytest.fixture(scope="module")
def trainer(card: ModelCard) -> LoraTrainer:
    return trainer_of(card, 1e-2)


@pytest.fixture(scope="module")
def champion(trainer: LoraTrainer, tmp_path_factory: pytest.TempPathFactory) -> Training:
    """An adapter that answers "verily"."""
    folder = tmp_path_factory.mktemp("champion")
    return trainer.train("law", rows(TRAIN, "verily"), rows(HELD_OUT, "verily"), folder, keep_best=True)


def held_out_loss(trainer: LoraTrainer, adapter: Adapter | None, conversations: list) -> float:
    """The loss of conversations with an adapter from its files."""
    from model.backends.chat_template import ChatTemplate
    from model.backends.lora.adapted import adapted
    from model.backends.lora.examples import read_examples
    from model.backends.lora.loss import mean_loss

    assert trainer.loaded is not None
    model, tokenizer = trainer.loaded
    examples = read_examples(ChatTemplate(tokenizer, {}, "byte-chat"), conversations, 512)
    with adapted(model, trainer.config, adapter) as network:
        return mean_loss(network, examples, trainer.config.batch_rows)


def test_without_keep_best_training_is_as_it_was(card: ModelCard, tmp_path: Path) -> None:
    conversations = [
        [
            {"role": "user", "content": f"What does {n} ask?"},
            {"role": "assistant", "content": f"It asks {'for ' * (n % 3)}{n}."},
        ]
        for n in range(2, 34)
    ]
    former = LoraTrainer(Lora(max_tokens=3000, batch_rows=4, learning_rate=1e-2), card, 1, 17)
    training = former.train("law", conversations[:24], conversations[24:], tmp_path)
    assert training.loss_before == pytest.approx(8.245017766952515, rel=1e-4)  # of the trainer before it had candidates
    assert training.loss_after == pytest.approx(6.327398300170898, rel=1e-4)
    assert (training.train_rows, training.held_out_rows, training.tokens) == (24, 8, 2416)
    assert json.loads(Path(training.adapter.path, "training.json").read_text()).keys() == {
        "adapter", "loss_before", "loss_after", "train_rows", "held_out_rows", "tokens", "trainable_parameters",
        "total_parameters",
    }  # fmt: skip


def test_a_pattern_is_learnt(trainer: LoraTrainer, champion: Training) -> None:
    assert champion.loss_after < champion.loss_before - 5
    assert champion.loss_before == pytest.approx(held_out_loss(trainer, None, rows(HELD_OUT, "verily")), rel=1e-5)
    card = json.loads(Path(champion.adapter.path, "training.json").read_text())
    assert card["losses"] == [list(evaluation) for evaluation in champion.losses or ()]
    assert (card["steps"], card["best_step"]) == (champion.steps, champion.best_step)


def test_the_adapter_is_that_of_the_best_step_not_of_the_last(card: ModelCard, tmp_path: Path) -> None:
    fast = trainer_of(card, 6e-2, 12_000)  # long enough that it ends since the loss has not fallen for long
    others = rows(HELD_OUT, "verity")  # they share their beginning with what is learnt: at first their loss falls too
    training = fast.train("law", rows(TRAIN, "verily"), others, tmp_path, keep_best=True)
    assert training.losses is not None
    assert training.best_step is not None
    losses = dict(training.losses)
    assert losses[0] == training.loss_before
    assert losses[training.best_step] == training.loss_after == min(losses.values()) < losses[max(losses)]
    assert 0 < training.best_step < max(losses) == training.steps
    assert training.tokens < 11_000
    assert held_out_loss(fast, training.adapter, others) == pytest.approx(training.loss_after, rel=1e-5)


def test_training_ends_when_the_loss_has_not_fallen_for_long(card: ModelCard, tmp_path: Path) -> None:
    long = trainer_of(card, 3e-2, 12_000)
    training = long.train("law", rows(TRAIN, "verily"), rows(HELD_OUT, "hardly"), tmp_path, keep_best=True)
    assert training.losses is not None
    assert training.steps == training.losses[-1][0] < 40
    assert sum(step > (training.best_step or 0) for step, _ in training.losses) == 5
    assert training.tokens < 11_000


def test_preferences_make_the_chosen_answers_likelier(card: ModelCard, tmp_path: Path) -> None:
    steady = trainer_of(card, 1e-1)
    train, held_out = pairs(TRAIN, "verily", "hardly"), pairs(HELD_OUT, "verily", "hardly")
    training = steady.prefer("law", train, held_out, tmp_path)
    assert training.accuracy == 1.0
    assert training.chosen_change is not None
    assert training.chosen_change > 1
    assert training.loss_before > math.log(2) + 5  # −log σ(0), and the chosen answers' cross-entropy
    chosen, rejected = rows(HELD_OUT, "verily"), rows(HELD_OUT, "hardly")
    gains = [
        held_out_loss(steady, None, answers) - held_out_loss(steady, training.adapter, answers)
        for answers in (chosen, rejected)
    ]
    assert gains[0] == pytest.approx(training.chosen_change, abs=0.05)
    assert gains[0] > gains[1] + 0.5


def test_preferences_start_from_the_champion(card: ModelCard, champion: Training, tmp_path: Path) -> None:
    short = trainer_of(card, 1e-2, 1500)
    train, held_out = pairs(TRAIN, "verily", "hardly"), pairs(HELD_OUT, "verily", "hardly")
    training = short.prefer("law", train, held_out, tmp_path, champion.adapter)
    assert training.loss_before == pytest.approx(math.log(2) + champion.loss_after, abs=0.05)
    assert training.adapter.sha256 != champion.adapter.sha256
    assert training.trainable_parameters == champion.trainable_parameters
    again = short.prefer("law", train, held_out, tmp_path / "again", champion.adapter)
    assert (again.adapter.sha256, again.losses) == (training.adapter.sha256, training.losses)
    assert held_out_loss(short, None, rows(HELD_OUT, "verily")) == pytest.approx(champion.loss_before, rel=1e-6)


def test_it_is_refused_when_the_chosen_answers_become_less_likely(
    card: ModelCard, champion: Training, tmp_path: Path
) -> None:
    bare = trainer_of(card, 3e-1, preference=PreferenceOptions(beta=50, chosen_weight=0.0))
    train, held_out = pairs(TRAIN, "verily", "hardly"), pairs(HELD_OUT, "verily", "hardly")
    with pytest.raises(TrainingRefused, match=r"the chosen answers became less likely.*nats per token"):
        bare.prefer("law", train, held_out, tmp_path, champion.adapter)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("what", ["train", "prefer"])
def test_a_loss_that_diverges_is_refused(card: ModelCard, tmp_path: Path, what: str) -> None:
    wild = trainer_of(card, learning_rate=1e30)
    train = {
        "train": lambda: wild.train("law", rows(TRAIN, "yes"), rows(HELD_OUT, "yes"), tmp_path, keep_best=True),
        "prefer": lambda: wild.prefer("law", pairs(TRAIN, "yes", "no"), pairs(HELD_OUT, "yes", "no"), tmp_path),
    }
    with pytest.raises(TrainingRefused, match="not finite; lower the rate"):
        train[what]()


@pytest.mark.parametrize("fault", ["missing", "changed", "other model"])
def test_an_adapter_that_cannot_be_started_from(
    card: ModelCard, champion: Training, tmp_path: Path, fault: str
) -> None:
    folder = tmp_path / "start"
    shutil.copytree(champion.adapter.path, folder)
    sha256 = champion.adapter.sha256
    if fault == "missing":
        shutil.rmtree(folder)
    elif fault == "changed":
        (folder / "adapter_config.json").write_text("{}")
    else:
        from safetensors.torch import load_file, save_file

        from model.weights.adapter import adapter_sha256

        weights = load_file(folder / "adapter_model.safetensors")
        save_file(
            {name: weight[:, :3].contiguous() for name, weight in weights.items()}, folder / "adapter_model.safetensors"
        )
        sha256 = adapter_sha256(folder)
    short = trainer_of(card, 1e-2, 300)
    start = Adapter(f"law@{sha256}", str(folder), sha256)
    with pytest.raises(InputError, match=r"cannot be read|damaged|does not fit the model"):
        short.prefer("law", pairs(TRAIN, "yes", "no"), pairs(HELD_OUT, "yes", "no"), tmp_path / "out", start)
    assert short.prefer("law", pairs(TRAIN, "yes", "no"), pairs(HELD_OUT, "yes", "no"), tmp_path / "out").steps

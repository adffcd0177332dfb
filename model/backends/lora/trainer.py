"""Trains LoRA adapters: on accepted answers, or on pairs of an accepted and a rejected answer."""

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from configs.errors import BackendError
from configs.schema import Lora
from model.backends.chat_template import ChatTemplate
from model.backends.lora.adapted import adapted, load_model, trainable, writer
from model.backends.lora.examples import Example, Plan, Row, plan_batches, read_examples, read_pairs
from model.weights.adapter import write_adapter
from stages.ports import Adapter, ModelCard, Preference, Training, TrainingRefused

if TYPE_CHECKING:
    from model.backends.lora.fit import BestStep  # torch

_ONE_AT_A_TIME = threading.Lock()  # transformers cannot load two models at once, and the random state is shared
_DIVERGED = "lora.learning_rate: the loss is not finite; lower the rate"


@dataclass(frozen=True, slots=True)
class PreferenceOptions:
    """How preferences are learnt. See `preference` for beta and chosen_weight."""

    beta: float = 5.0  # of Tülu 3, for log-probabilities per token
    chosen_weight: float = 1.0
    rate: float = 0.1  # of lora.learning_rate: what has been learnt is to be changed, not replaced
    max_chosen_loss: float = 0.1  # nats per token by which the chosen answers may become less likely


class LoraTrainer:
    """Trains adapters of all linear layers. The loss is over the tokens of the last message alone.

    The same rows, seed, thread count and machine give the same adapter. The model is loaded for the first adapter and
    kept. `template_options`: variables of its chat template.

    On a CPU a model of 135 M parameters takes about 6 ms of a core per token.
    """

    def __init__(
        self,
        config: Lora,
        card: ModelCard,
        threads: int,
        seed: int,
        template_options: Mapping[str, Any] | None = None,
        preference: PreferenceOptions | None = None,
    ):
        self.config, self.card, self.threads, self.seed = config, card, threads, seed
        self.template_options = template_options or {}
        self.preference = preference or PreferenceOptions()
        self.loaded: tuple[Any, Any] | None = None

    def train(
        self, domain: str, rows: Sequence[Row], held_out: Sequence[Row], folder: Path, *, keep_best: bool = False
    ) -> Training:
        """See AdapterTrainer. Raises BackendError if the model does not load, no row fits or the loss diverges."""
        with self._ready() as (model, template):
            from model.backends.lora.fit import BestStep, fit
            from model.backends.lora.loss import mean_loss, summed_loss

            size, length = self.config.batch_rows, self.config.max_length
            plan = plan_batches(read_examples(template, rows, length), self.config, self.seed, size)
            held_out_examples = read_examples(template, held_out, length)
            _check_fit(domain, plan, held_out_examples)
            with adapted(model, self.config) as network:
                weights = trainable(network)

                def evaluate() -> float:
                    return mean_loss(network, held_out_examples, size)

                def loss(batch: list[Example]) -> Any:
                    total, count = summed_loss(network, batch)
                    return total / count

                if keep_best:
                    best = BestStep(weights, len(plan.batches), evaluate)
                    if not fit(weights, plan.batches, self.config.learning_rate, loss, best):
                        raise TrainingRefused(_DIVERGED)
                    best.restore()
                    plan, figures = plan.first(best.step), _course(best)
                else:
                    before = evaluate()
                    if not fit(weights, plan.batches, self.config.learning_rate, loss):
                        raise BackendError(_DIVERGED)
                    figures = {"loss_before": before, "loss_after": evaluate()}
                return self._write(domain, folder, network, plan, len(held_out_examples), figures)

    def prefer(
        self,
        domain: str,
        pairs: Sequence[Preference],
        held_out: Sequence[Preference],
        folder: Path,
        start: Adapter | None = None,
    ) -> Training:
        """See AdapterTrainer. Raises as `train`; InputError if the adapter to start from cannot be used."""
        with self._ready() as (model, template):
            from model.backends.lora.fit import BestStep, fit
            from model.backends.lora.preference import PreferenceLoss

            options, length = self.preference, self.config.max_length
            size = max(1, self.config.batch_rows // 2)  # pairs; each has two rows
            plan = plan_batches(read_pairs(template, pairs, length), self.config, self.seed, size)
            held_out_pairs = read_pairs(template, held_out, length)
            _check_fit(domain, plan, held_out_pairs)
            with adapted(model, self.config, start) as network:
                weights = trainable(network)
                known = {id(pair): pair for batch in [*plan.batches, held_out_pairs] for pair in batch}
                loss = PreferenceLoss(network, [*known.values()], size, options.beta, options.chosen_weight)

                def evaluate() -> float:
                    figures = loss.figures(held_out_pairs)
                    if figures.chosen_change < -options.max_chosen_loss:
                        raise TrainingRefused(
                            "the chosen answers became less likely, not only the rejected ones: by "
                            f"{-figures.chosen_change:.2f} nats per token on held-out pairs, "
                            f"{options.max_chosen_loss:g} are allowed"
                        )
                    return figures.loss

                best = BestStep(weights, len(plan.batches), evaluate)
                if not fit(weights, plan.batches, options.rate * self.config.learning_rate, loss, best):
                    raise TrainingRefused(_DIVERGED)
                best.restore()
                plan = plan.first(best.step)
                after = loss.figures(held_out_pairs)
                figures = _course(best) | {"accuracy": after.accuracy, "chosen_change": after.chosen_change}
                return self._write(domain, folder, network, plan, len(held_out_pairs), figures)

    @contextmanager
    def _ready(self) -> Iterator[tuple[Any, ChatTemplate]]:
        """The loaded model and its chat template, for one training at a time, with the seed set."""
        import torch

        from model.device import use_threads

        with _ONE_AT_A_TIME:
            use_threads(self.threads)  # torch keeps the number for each thread
            if self.loaded is None:
                self.loaded = load_model(self.card)
            model, tokenizer = self.loaded
            with torch.random.fork_rng():
                torch.manual_seed(self.seed)
                yield model, ChatTemplate(tokenizer, self.template_options, self.card.name)

    def _write(
        self, domain: str, folder: Path, network: Any, plan: Plan[Any], held_out: int, figures: dict[str, Any]
    ) -> Training:
        parameters, total = network.get_nb_trainable_parameters()

        def describe(adapter: Adapter) -> Training:
            return Training(
                adapter=adapter,
                train_rows=plan.used,
                held_out_rows=held_out,
                tokens=plan.tokens,
                trainable_parameters=parameters,
                total_parameters=total,
                **figures,
            )

        return write_adapter(domain, folder, writer(network, self.card.name), describe)


def _check_fit(domain: str, plan: Plan[Any], held_out: Sequence[Any]) -> None:
    if not plan.batches or not held_out:
        raise BackendError(
            f"{domain}: the model's chat template fits no training or no held-out row; train no adapter "
            "(adapt.enabled: false), or use another model"
        )


def _course(best: "BestStep") -> dict[str, Any]:
    return {
        "loss_before": best.losses[0][1],
        "loss_after": best.best_loss,
        "steps": best.step,
        "best_step": best.best,
        "losses": tuple(best.losses),
    }

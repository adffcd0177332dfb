"""The ports of the stages: what they need from a generator, a filter, an encoder and an adapter trainer.

Stages know only these protocols; `pipeline.run.graph` injects the implementations from `model` and `filters`.
"""

from collections.abc import Callable, Sequence
from dataclasses import InitVar, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from configs.schema import Sampling
from stages.storage.stats import GeneratorStats

if TYPE_CHECKING:
    from stages.record import Candidate  # imports Arrow, which engine processes do not need


@dataclass(frozen=True, slots=True)
class ModelCard:
    """The identity of a model, known before it is loaded. It goes into fingerprints and lineage."""

    name: str
    sha256: str  # of the weights; of the service's name if the weights cannot be read
    backend: str  # the generator backend's name
    path: str  # a local folder in the Hugging Face layout; "" where the backend has no local weights
    parameters: int  # 0: unknown
    licence: str = ""
    tokenizer_sha256: str = ""


@dataclass(frozen=True, slots=True)
class Adapter:
    """A LoRA adapter on disk. `name` is `<domain>@<sha256>`: two adapters never share one."""

    name: str
    path: str
    sha256: str


@dataclass(frozen=True, slots=True)
class Request:
    """One prompt. The same request gives the same completion on the same backend and machine.

    With `begin` the answer starts with this text; the completion has only what the generator adds. With `scored`
    nothing is written: the completion has the log-probability of this answer. Only backends that declare it do either.
    """

    id: str
    messages: tuple[dict[str, str], ...]
    sampling: Sampling
    seed: int
    json_schema: str | None = None  # for guided decoding, if the backend supports it
    adapter: Adapter | None = None
    begin: str = ""
    scored: str | None = None
    likelihood: bool = False  # the completion has the log-probability of its text


@dataclass(frozen=True, slots=True)
class Completion:
    """The answer to one request. If only this request failed, `error` is set and `text` is empty.

    For a scored answer `text` is empty and `output_tokens` counts its tokens. `log_probability` is the sum of the
    log-probabilities of the output tokens at temperature 1 without penalties, in nats, where the request asks for it.
    """

    text: str
    prompt_tokens: int
    output_tokens: int
    finish_reason: str  # stop | length | error, or a service's own word, which `stages.answers` reads
    error: str | None = None
    log_probability: float | None = None
    detail: str = ""  # why there is no whole answer, in the service's words


# Called while `generate` runs, with two totals of that call: answered requests and output tokens.
ProgressCallback = Callable[[int, int], None]


class Generator(Protocol):
    """Turns prompts into text. Safe to call from several threads; a call takes a whole shard."""

    def generate(self, requests: Sequence[Request], progress: ProgressCallback | None = None) -> list[Completion]:
        """One completion per request, in order. Raises BackendError when no request can be answered.

        `progress` is called from the calling thread, with totals that never decrease; the last call has all requests.
        """
        ...

    def take_stats(self) -> GeneratorStats:
        """Figures of engines and GPUs since the last call, for the shard's record; empty if nothing is measured."""
        ...

    def close(self) -> None:
        """Frees memory and processes; a second call does nothing."""
        ...


@dataclass(frozen=True, slots=True)
class Verdict:
    """A filter's decision on one candidate, which is kept when `reason` is None.

    `row` replaces the candidate, for example with personal data masked, whether it is kept or rejected. `findings` are
    names of what the filter saw in it; the run's report counts them. In this version filters may still pass them as
    `found`.
    """

    reason: str | None = None
    score: float | None = None
    detail: str = ""
    row: "Candidate | None" = None
    findings: tuple[str, ...] = ()
    found: InitVar[tuple[str, ...]] = ()

    def __post_init__(self, found: tuple[str, ...]) -> None:
        if found:
            object.__setattr__(self, "findings", found)


KEEP = Verdict()


_ALL_WRITTEN = frozenset({"answer", "extract", "question", "distractor"})


def judged_by(judge: object) -> frozenset[str]:
    """The kinds of text (`Candidate.writes`) that a filter judges: its `judges`, or all."""
    return getattr(judge, "judges", _ALL_WRITTEN)


class Filter(Protocol):
    """Judges a batch. Deterministic: the same candidates get the same verdicts.

    A filter that makes sense for some texts only declares `judges`, a set of values of `Candidate.writes`; it is not
    called with other candidates.
    """

    def __call__(self, batch: "Sequence[Candidate]") -> list[Verdict]:
        """One verdict for each candidate, in order."""
        ...


class Encoder(Protocol):
    """Turns texts into vectors. `card` is the identity of the weights."""

    card: ModelCard

    def encode(self, texts: Sequence[str], depths: Sequence[float] = (1.0,)) -> np.ndarray:
        """Float32 [len(texts), dimension × len(depths)]: the mean hidden states at these depths, each of norm 1.

        `depths`: 1.0 is the last layer, 0.5 the layer in the middle.
        """
        ...


class Verifier(Protocol):
    """Scores how well passages support claims. `card` is the identity of the weights."""

    card: ModelCard

    def score(self, passages: Sequence[str], claims: Sequence[str]) -> np.ndarray:
        """Float32 [N]: a logit for each pair of a passage and a claim; higher is better supported."""
        ...


class Contrast(Protocol):
    """Two passages and two claims: passage 0 supports claim 0 and not claim 1, passage 1 the other way round.

    `answers`: what a generator wrote about each passage, or (). Nobody knows whether they are right, but on the whole
    they are less so than the claims, and more so than the claims about the other passage. `sure`: False where the
    claims themselves are a generator's: then only the comparison of the passages counts.
    """

    @property
    def passages(self) -> tuple[str, str]: ...

    @property
    def claims(self) -> tuple[str, str]: ...

    @property
    def answers(self) -> tuple[str, str] | tuple[()]: ...

    @property
    def sure(self) -> bool: ...

    @property
    def easy(self) -> bool:
        """Whether it is for the beginning of training: without these, fine differences are not learnt."""
        ...


@dataclass(frozen=True, slots=True)
class TuningEpoch:
    """The N texts that one epoch of an encoder's fine-tuning reads.

    `good` [N]: 1 for good texts, 0 for bad ones. `weight` [N]: of each text in the loss. `page` [N]: a number for the
    page that a text was written from; texts of one number are compared with each other.
    """

    texts: Sequence[str]
    good: np.ndarray
    weight: np.ndarray
    page: np.ndarray


@dataclass(frozen=True, slots=True)
class Preference:
    """A prompt and two answers to it, of which the chosen one is better."""

    messages: list[dict[str, str]]
    chosen: str
    rejected: str


class TrainingRefused(Exception):
    """A training that made the model worse, so that there is no adapter. The message says how."""


@dataclass(frozen=True, slots=True)
class Training:
    """The result of training one adapter. Losses are of held-out rows: mean cross-entropy in nats per answer token, or
    the mean loss of preferences.

    What follows `total_parameters` is known of trainings that keep their best step. That step is 0 where no step was
    better than the start.
    """

    adapter: Adapter
    loss_before: float
    loss_after: float
    train_rows: int
    held_out_rows: int
    tokens: int
    trainable_parameters: int
    total_parameters: int
    steps: int | None = None  # of the optimizer
    best_step: int | None = None  # after which the adapter was taken: `loss_after` was lowest then
    losses: tuple[tuple[int, float], ...] | None = None  # step and loss; the first is before the training
    accuracy: float | None = None  # share of held-out pairs whose chosen answer gained more than the rejected one
    chosen_change: float | None = None  # of the log-probability of held-out chosen answers, in nats per token


class AdapterTrainer(Protocol):
    """Trains one adapter. It is written as `<folder>/<sha256>/` (weights, config, training card), atomically."""

    def train(
        self,
        domain: str,
        rows: Sequence[list[dict[str, str]]],
        held_out: Sequence[list[dict[str, str]]],
        folder: Path,
        *,
        keep_best: bool = False,
    ) -> Training:
        """Trains a new adapter on conversations whose last message is the answer to learn.

        With `keep_best` the held-out loss is measured during the training too, which ends when it falls no more; the
        weights of the lowest loss are taken. Then it raises TrainingRefused where the loss diverges.
        """
        ...

    def prefer(
        self,
        domain: str,
        pairs: Sequence[Preference],
        held_out: Sequence[Preference],
        folder: Path,
        start: Adapter | None = None,
    ) -> Training:
        """Trains a new adapter, or a copy of `start`, to prefer the chosen answers. Keeps its best step.

        Raises TrainingRefused where the loss diverges, or where held-out chosen answers become much less likely.
        """
        ...

"""The seams: what a stage asks of a generator, a filter, an encoder and an adapter trainer.

Stages know these protocols only; `pipeline.run.graph` injects the implementations from `model` and `filters`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from configs.schema import Sampling
from stages.storage.stats import GeneratorStats

if TYPE_CHECKING:
    from stages.record import Candidate  # Arrow, which an engine's process can do without


@dataclass(frozen=True, slots=True)
class ModelCard:
    """Which model this is, known before it is loaded: it goes into fingerprints and lineage."""

    name: str
    sha256: str  # of the weights; of the service's name where the weights are out of reach
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
    """One prompt. The same request gives the same completion on the same backend and machine."""

    id: str
    messages: tuple[dict[str, str], ...]
    sampling: Sampling
    seed: int
    json_schema: str | None = None  # guide decoding by it, where the backend can
    adapter: Adapter | None = None


@dataclass(frozen=True, slots=True)
class Completion:
    """The answer to one request. `error` is set, and `text` empty, when this row alone failed."""

    text: str
    prompt_tokens: int
    output_tokens: int
    finish_reason: str  # stop | length | error
    error: str | None = None


# Called while a call of `generate` runs, with two totals of that call: answered requests and output tokens.
ProgressCallback = Callable[[int, int], None]


class Generator(Protocol):
    """Turns prompts into text. Safe to call from several threads; a call takes a whole shard."""

    def generate(self, requests: Sequence[Request], progress: ProgressCallback | None = None) -> list[Completion]:
        """One completion per request, in order. Raises BackendError when no row can be served.

        `progress` is called from the calling thread, with totals that never decrease; the last call has all requests.
        """
        ...

    def take_stats(self) -> GeneratorStats:
        """What engines and GPUs did since the last call, for the shard's record; empty where nothing is measured."""
        ...

    def close(self) -> None:
        """Frees memory and processes; a second call does nothing."""
        ...


@dataclass(frozen=True, slots=True)
class Verdict:
    """A filter's word on one candidate: kept when `reason` is None.

    `row` takes the candidate's place, masked: among the kept or, with a reason, among the rejects. `found` is what was
    seen in it, counted in the run's report.
    """

    reason: str | None = None
    score: float | None = None
    detail: str = ""
    row: "Candidate | None" = None
    found: tuple[str, ...] = ()


KEEP = Verdict()


class Filter(Protocol):
    """Judges a batch: one verdict per candidate, in order. Total and deterministic."""

    def __call__(self, batch: "Sequence[Candidate]") -> list[Verdict]: ...


class Encoder(Protocol):
    """Text to vectors. `card` names the weights."""

    card: ModelCard

    def encode(self, texts: Sequence[str], depths: Sequence[float] = (1.0,)) -> np.ndarray:
        """Float32 [len(texts), dimension × depths]: mean states at those shares of the layers, each of norm 1."""
        ...


@dataclass(frozen=True, slots=True)
class TuningEpoch:
    """The texts that one epoch of an encoder's fine-tuning reads, N of them.

    `good` [N]: 1 for good texts, 0 for bad ones. `weight` [N]: of each text in the loss. `page` [N]: a number for the
    page that a text was written from; texts of one number are compared with each other.
    """

    texts: Sequence[str]
    good: np.ndarray
    weight: np.ndarray
    page: np.ndarray


@dataclass(frozen=True, slots=True)
class Training:
    """What training one adapter gave. Losses are mean cross-entropy in nats per answer token."""

    adapter: Adapter
    loss_before: float
    loss_after: float
    train_rows: int
    held_out_rows: int
    tokens: int
    trainable_parameters: int
    total_parameters: int


class AdapterTrainer(Protocol):
    """Trains one adapter on conversations whose last message is the answer to learn."""

    def train(
        self,
        domain: str,
        rows: Sequence[list[dict[str, str]]],
        held_out: Sequence[list[dict[str, str]]],
        folder: Path,
    ) -> Training:
        """Writes `<folder>/<sha256>/` (weights, config, training card) atomically and returns what it gave."""
        ...

"""`EvaluationOptions`: what an evaluation measures, and how much of it."""

from collections.abc import Sequence
from dataclasses import dataclass

from configs.errors import ConfigError
from model.evaluation import passkey


@dataclass(frozen=True, slots=True)
class EvaluationOptions:
    """The command's flags. Raises ConfigError for a value that cannot be used."""

    domains: Sequence[str] = ("law", "medicine")  # of the real held-out text
    bytes: int = 200_000  # of held-out text for each domain
    window: int | None = None  # tokens read at once; None: the sequence length of the model's training
    stride: int | None = None  # tokens from window to window; None: half a window
    max_length: int = 1024  # tokens of the longest text of passkey retrieval
    trials: int = 8  # keys for each length and depth; 0: no retrieval
    tasks: Sequence[str] = ()  # of lm-eval
    questions: int = 200  # of each task; 0: all
    held_out: float | None = None  # share of the data set; None: the one that the model was trained with
    seed: int = 17  # of the keys and their places

    def __post_init__(self) -> None:
        minimums = {"bytes": 1, "window": 2, "stride": 1, "trials": 0, "questions": 0, "seed": 0}
        for name, minimum in minimums.items():
            value = getattr(self, name)
            if value is not None and value < minimum:
                raise ConfigError(f"--{name}: {value} is too small; give {minimum} or more")
        if self.held_out is not None and not 0 < self.held_out < 1:
            raise ConfigError(f"--held-out: {self.held_out} is not a share; give one between 0 and 1, such as 0.02")
        if self.trials:
            passkey.lengths_up_to(self.max_length)

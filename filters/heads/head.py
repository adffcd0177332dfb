"""Trained heads as files: their weights and limits, and the encoder that they were trained on."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from configs.errors import ConfigError
from filters.heads.logistic import probability
from stages.ports import Encoder
from stages.storage.atomic import write_text

SHIPPED_HEADS = Path(__file__).parent / "shipped"
# Shares of the encoder's layers whose states heads read: the last layers say what a text is about, these how it is
# written.
DEPTHS = (1 / 2, 7 / 12)
CARD_DEPTHS = [round(depth, 4) for depth in DEPTHS]  # as a head's card records them


@dataclass(frozen=True)
class HeadFile:
    """A head over the states of an encoder at `DEPTHS`, as JSON. `card` records how it was trained and measured.

    The fields of the subclasses are the keys of the files, and part of run fingerprints: they keep names and order.
    """

    kind: ClassVar[str]

    encoder: str
    encoder_sha256: str
    card: dict[str, Any]

    def write(self, path: Path) -> None:
        """Writes the head as JSON; equal heads give equal bytes."""
        write_text(path, json.dumps(asdict(self), indent=1, sort_keys=True, ensure_ascii=False) + "\n")

    @classmethod
    def read(cls, name: str) -> Self:
        """Reads a head: the path of a .json file, or an encoder's name for the head that is shipped for it.

        Raises ConfigError beginning with `head`.
        """
        path = Path(name) if name.endswith(".json") else SHIPPED_HEADS / f"{cls.kind}-{name}.json"
        try:
            return cls(**json.loads(path.read_text("utf-8")))
        except FileNotFoundError:
            raise ConfigError(
                f"head: no such file {str(path)!r}; train one with `gristmill filter train`, or use the encoder"
                " multilingual-e5-small, whose head is shipped"
            ) from None
        except (ValueError, TypeError) as error:
            raise ConfigError(f"head: {str(path)!r} is not a {cls.kind} head ({error}); train it again") from None

    @classmethod
    def for_encoder(cls, encoder: Encoder, name: str) -> Self:
        """Reads the head `name`, or the one shipped for the encoder if `name` is empty.

        Raises ConfigError if the head was trained on another encoder, or on other layers.
        """
        head, card = cls.read(name or encoder.card.name), encoder.card
        if head.encoder_sha256 != card.sha256:
            raise ConfigError(
                f"head: trained on {head.encoder} with weights {head.encoder_sha256[:12]}, screen.encoder has"
                f" {card.sha256[:12]}; train one for it with `gristmill filter train`"
            )
        if head.card.get("depths") != CARD_DEPTHS:
            raise ConfigError("head: trained on other layers than this version reads; train it again")
        return head


@dataclass(frozen=True)
class QualityHead(HeadFile):
    """A logistic head over `features.features`: good text against broken text.

    `scales` and `limits` have a value for each language and each "domain language". A scale is the slope and offset
    that make a logit a calibrated probability. Limits are two probabilities: below the first a text is surely bad, from
    the second on surely good; 0 or 1 where the head never is sure. The head does not judge languages without limits.
    """

    kind: ClassVar[str] = "quality"

    weights: list[float]
    bias: float
    scales: dict[str, list[float]]
    limits: dict[str, list[float]]

    def score(self, features_ND: np.ndarray, groups: Sequence[str]) -> np.ndarray:
        """Calibrated probability of good text, [N], where good and bad are equally frequent; `groups` as of `group`."""
        scales = np.array([self.scales.get(group, (1.0, 0.0)) for group in groups]).reshape(-1, 2)
        return probability(scales[:, 0] * (features_ND @ np.array(self.weights) + self.bias) + scales[:, 1])

    def group(self, domain: str, language: str) -> str:
        """The key of a text's scale and limits: "domain language" if the head has it, else the language."""
        pair = f"{domain} {language}"
        return pair if pair in self.limits else language


@dataclass(frozen=True)
class DomainHead(HeadFile):
    """A logistic head for each domain against all others: `weights`, `bias` and `thresholds` by domain.

    `abstains` lists, by domain, the languages that its head cannot judge.
    """

    kind: ClassVar[str] = "domain"

    weights: dict[str, list[float]]
    bias: dict[str, float]
    thresholds: dict[str, float]
    abstains: dict[str, list[str]]

    def score(self, domain: str, embedded_ND: np.ndarray) -> np.ndarray:
        """Probability that a text is of the domain, [N]."""
        return probability(embedded_ND @ np.array(self.weights[domain]) + self.bias[domain])

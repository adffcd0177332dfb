"""What is shipped or written with a verifier: what it was trained on, how its scores are scaled, and its limits."""

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from configs.errors import ConfigError
from filters.heads.head import SHIPPED_HEADS
from stages.ports import ModelCard
from stages.storage.atomic import write_text

CARD_FILE = "verifier.json"
SHIPPED = SHIPPED_HEADS / "grounded-all-minilm-l6-v2"
OWN = "grounded"  # the verifier's own score, among `scales`
LIKELIHOODS = ("log_p", "pmi")  # scores that a row may carry from its generator
# With a model that is asked: one score of each kind, reading, likelihood and question.
LIKELIHOODS_WITH_JUDGE = ("log_p",)
JUDGE = "judge"  # before the model's name, among `scales`; alone, among scores


@dataclass(frozen=True)
class VerifierCard:
    """A verifier's file.

    Attributes:
        model: the encoder that its adapter is for.
        sha256: of the encoder's weights and the adapter.
        languages: those that it was trained on.
        scales: mean and standard deviation of each score over answers that nobody labelled.
        limits: by generator, domain and language ("name law en"), the score from which on nine of ten answers are
            right; None where there are too few labels.
        card: how it was trained and measured.
    """

    model: str
    sha256: str
    languages: list[str]
    scales: dict[str, list[float]]
    limits: dict[str, float | None]
    card: dict[str, Any]

    def write(self, folder: Path) -> None:
        """Writes the card into a verifier's folder."""
        text = json.dumps(asdict(self), indent=1, sort_keys=True, ensure_ascii=False) + "\n"
        write_text(folder / CARD_FILE, text)

    @classmethod
    def read(cls, folder: Path) -> "VerifierCard":
        """The card in a verifier's folder. Raises ConfigError beginning with `model`."""
        try:
            return cls(**json.loads((folder / CARD_FILE).read_text("utf-8")))
        except (OSError, ValueError, TypeError) as error:
            raise ConfigError(
                f"model: {str(folder)!r} is not a verifier's folder ({error}); train it again with"
                " `gristmill filter train grounded`"
            ) from None

    def check(self, card: ModelCard) -> None:
        """Raises ConfigError if the opened model is not the one that this verifier was trained on."""
        if card.sha256 != self.sha256:
            raise ConfigError(
                f"model: the verifier was trained on {self.model} with weights and adapter {self.sha256[:12]}, opened"
                f" were {card.sha256[:12]}; train one for it with `gristmill filter train grounded`"
            )


def judge_scale(card: VerifierCard | None, judge: str) -> list[float]:
    """The mean and deviation of the scores of a model that is asked. Raises ConfigError beginning with `judge`."""
    scales = card.scales if card else {}
    if (scale := scales.get(f"{JUDGE} {judge}")) is None:
        known = [name.removeprefix(f"{JUDGE} ") for name in scales if name.startswith(f"{JUDGE} ")]
        raise ConfigError(
            f"judge: the verifier does not know how {judge!r} scores (it knows {', '.join(known) or 'no model'}); "
            "train one with `gristmill filter train grounded --judge`, or name the model as `model` to use it alone"
        )
    return scale


def located(model: str) -> tuple[str, str, VerifierCard | None]:
    """The encoder, the adapter's folder and the card of a verifier.

    model: "" for the shipped one, a folder that `filter train grounded` wrote, or any other model, which has no adapter
    and no card. Raises ConfigError.
    """
    folder = Path(model).expanduser() if model else SHIPPED
    if (folder / CARD_FILE).is_file():
        card = VerifierCard.read(folder)
        return card.model, str(folder), card
    return model, "", None


def identity(model: str) -> dict[str, Any]:
    """What a run's fingerprint has of a verifier."""
    name, _, card = located(model)
    if card is not None:
        return asdict(card)
    folder = Path(name).expanduser()
    files = sorted(folder.glob("*.safetensors")) if folder.is_dir() else []
    return {"model": name, "files": [hashlib.sha256(file.read_bytes()).hexdigest() for file in files]}

"""A trained head's file: which encoder it belongs to, and whether it fits the one at hand."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

from configs.errors import ConfigError
from stages.ports import Encoder

HEADS = Path(__file__).parent / "shipped"
DEPTHS = (1 / 2, 7 / 12)  # of the encoder's layers: the last say what a text is about, these how it is written
READ = [round(depth, 4) for depth in DEPTHS]  # as a head's card has them


@dataclass(frozen=True)
class HeadFile:
    """A head over the states at `DEPTHS` of an encoder, and the card of its training."""

    kind: ClassVar[str]

    encoder: str
    encoder_sha256: str
    card: dict[str, Any]

    def write(self, path: Path) -> None:
        """JSON, byte for byte the same for the same head."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(asdict(self), indent=1, sort_keys=True, ensure_ascii=False) + "\n", "utf-8")

    @classmethod
    def read(cls, name: str) -> Self:
        """A shipped head by its encoder's name, or your own by path. Raises ConfigError beginning with `head`."""
        path = Path(name) if name.endswith(".json") else HEADS / f"{cls.kind}-{name}.json"
        try:
            return cls(**json.loads(path.read_text("utf-8")))
        except FileNotFoundError:
            raise ConfigError(
                f"head: no such file {str(path)!r}; train one with `gristmill filter train`, or take the encoder"
                " multilingual-e5-small, whose head is shipped"
            ) from None
        except (ValueError, TypeError) as error:
            raise ConfigError(f"head: {str(path)!r} is no {cls.kind} head ({error}); train it again") from None

    @classmethod
    def of(cls, encoder: Encoder, name: str) -> Self:
        """As `read`, the encoder's own where no name is given; refused when it was trained on another one."""
        head, card = cls.read(name or encoder.card.name), encoder.card
        if head.encoder_sha256 != card.sha256:
            raise ConfigError(
                f"head: trained on {head.encoder} with weights {head.encoder_sha256[:12]}, screen.encoder has"
                f" {card.sha256[:12]}; train one for it with `gristmill filter train`"
            )
        if head.card.get("depths") != READ:
            raise ConfigError("head: trained on other layers than this version reads; train it again")
        return head

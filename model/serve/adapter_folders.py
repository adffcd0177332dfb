"""`find_adapters`: the adapters that a folder has, as the data engine and PEFT leave them."""

import json
import logging
from dataclasses import dataclass
from pathlib import Path

from model.weights.adapter import CARD, CONFIG, WEIGHTS

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class FoundAdapter:
    """An adapter on disk. `written_at`: in seconds since 1970."""

    name: str
    path: Path
    written_at: float


def find_adapters(folder: Path) -> list[FoundAdapter]:
    """Returns the adapters in `<folder>/<any>/` and `<folder>/<any>/<any>/`.

    One that the data engine trained has the name of its domain, from its training.json; others have the name of the
    folder below `folder`. Left out, with a line in the log: those whose training did not lower the loss.
    """
    adapters = []
    for config in sorted([*folder.glob(f"*/{CONFIG}"), *folder.glob(f"*/*/{CONFIG}")]):
        path = config.parent
        if path.name.startswith(".") or path.parent.name.startswith("."):  # being written
            continue
        try:
            written_at = (path / WEIGHTS).stat().st_mtime
            name = _name(path, folder)
        except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
            _log.error("adapters: %s is not served: it cannot be read (%s)", path, error)
            continue
        if name:
            adapters.append(FoundAdapter(name, path, written_at))
    return adapters


def _name(path: Path, folder: Path) -> str:
    """The adapter's name, or "" if it is not to be served."""
    card = path / CARD
    if not card.is_file():
        return path.relative_to(folder).parts[0]
    training = json.loads(card.read_text("utf-8"))
    if not training["loss_after"] < training["loss_before"]:
        _log.info("adapters: %s is not served: its training did not lower the loss", path)
        return ""
    return training["adapter"]["name"].partition("@")[0]

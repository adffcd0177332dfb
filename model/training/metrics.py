"""`Metrics`: the lines of metrics.jsonl, with losses, speed and utilisation since the line before."""

import json
import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from configs.schema.training import Training
from model.training.distributed import ProcessGroup
from model.training.saving import saving
from model.training.step import Losses
from stages.storage.atomic import write_text

# Dense bfloat16 FLOP/s, from the data sheets.
PEAK_FLOPS = {"H100": 989e12, "H200": 989e12, "A100": 312e12}
Watch = Callable[[dict[str, Any]], None]
SECONDS_UNTIL_SHOWN = 10.0  # a step is shown after so many seconds without a line


def perplexity(loss: float) -> float:
    """Returns e to the loss in nats, capped at e^50 so that an untrained model's stays a number."""
    return math.exp(min(loss, 50))


def read_lines(path: Path) -> tuple[list[dict[str, Any]], int]:
    """Returns the lines of a metrics.jsonl, and how many are left out since they are damaged."""
    lines, damaged = [], 0
    for text in path.read_text("utf-8", "replace").splitlines():
        try:
            line = json.loads(text)
            damaged += not isinstance(line["step"], int)
            lines += [line] if isinstance(line["step"], int) else []
        except (ValueError, KeyError, TypeError, RecursionError):
            damaged += 1
    return lines, damaged


class Metrics:
    """Adds up the steps since the last line; rank 0 writes the lines.

    Args:
        path: of metrics.jsonl.
        config: the training's configuration.
        flops_per_token: floating-point operations of a training step for each token.
        group: the processes of the training.
        watch: is called with each line and the number of all steps.
    """

    def __init__(self, path: Path, config: Training, flops_per_token: float, group: ProcessGroup, watch: Watch) -> None:
        self._path, self._config, self._group, self._watch = path, config, group, watch
        self._flops_per_token = flops_per_token
        self._steps: list[Losses] = []
        self._since = time.monotonic()
        self._shown_at: float | None = None

    def drop_after(self, step: int) -> int:
        """Removes the lines of later steps, which are about to be repeated, and damaged ones.

        Returns:
            How many damaged lines there were, without a half-written last one.

        Raises:
            StoreError: the file cannot be written.
        """
        if not self._path.exists():
            return 0
        with saving(self._path):
            is_cut = not self._path.read_bytes().endswith(b"\n") and self._path.stat().st_size > 0
            lines, damaged = read_lines(self._path)
            kept = [line for line in lines if line["step"] <= step]
            write_text(self._path, "".join(json.dumps(line) + "\n" for line in kept))
        return max(damaged - is_cut, 0)

    def add(self, losses: Losses) -> None:
        """Counts a step."""
        self._steps.append(losses)

    def restart_clock(self) -> None:
        """Leaves the time until now out of the speed: evaluation and saving are not training."""
        self._since = time.monotonic()

    def log_step(self, step: int, learning_rate: float) -> None:
        """Writes the means of the steps since the last such line, after `step` steps."""
        batch, steps = self._config.batch, len(self._steps)
        tokens_per_step = batch.sequences * batch.length
        seconds = time.monotonic() - self._since
        speed = steps * tokens_per_step / max(seconds, 1e-9)
        self._write(
            {
                "step": step,
                "loss": sum(losses.lm for losses in self._steps) / steps,
                "gate_loss": sum(losses.gate for losses in self._steps) / steps,
                "learning_rate": learning_rate,
                "tokens": step * tokens_per_step,
                "tokens_per_second": round(speed, 1),
                "mfu": self._utilisation(speed),
                "eta_s": round((self._config.steps - step) * seconds / steps, 1),
            }
        )
        self._steps.clear()
        self.restart_clock()

    def show_step(self, step: int) -> None:
        """Shows the first step, and one after a while without a line. It is not written to the file."""
        if self._group.rank or not (self._shown_at is None or time.monotonic() - self._shown_at > SECONDS_UNTIL_SHOWN):
            return
        self._show({"step": step, "shown": True, "loss": self._steps[-1].lm, "gate_loss": self._steps[-1].gate})

    def log_changes(self, step: int, changes: Mapping[str, tuple[Any, Any]]) -> None:
        """Writes what a resumed training does differently after `step` steps."""
        self._write({"step": step, "changed": {key: list(values) for key, values in changes.items()}})

    def log_held_out(self, step: int, loss: float) -> None:
        """Writes the held-out loss after `step` steps."""
        self._write({"step": step, "held_out": loss, "perplexity": perplexity(loss)})

    def _utilisation(self, tokens_per_second: float) -> float | None:
        """Returns the model FLOP utilisation (MFU): the share of the GPUs' peak that attended keys and weights use.

        None on a CPU and on GPUs whose peak is not known. Source: PaLM, arXiv 2204.02311, appendix B.
        """
        if self._group.device.type != "cuda":
            return None
        name = torch.cuda.get_device_name()
        peak = next((flops for part, flops in PEAK_FLOPS.items() if part in name), None)
        if peak is None:
            return None
        return round(tokens_per_second * self._flops_per_token / (peak * self._group.world_size), 4)

    def _write(self, line: dict[str, Any]) -> None:
        if self._group.rank:
            return
        with saving(self._path), self._path.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(line) + "\n")
        self._show(line)

    def _show(self, line: dict[str, Any]) -> None:
        self._shown_at = time.monotonic()
        self._watch(line | {"steps": self._config.steps})

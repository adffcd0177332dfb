"""`gristmill train`: one loop for a CPU, a GPU, or the ranks that torchrun starts.

<out>/config.yaml        the resolved configuration
<out>/tokenizer/         where it was learnt here
<out>/tokens/            token files of the shards
<out>/checkpoints/…      the newest few; the same command goes on from the last
<out>/metrics.jsonl      a line a logged step, and one for each pass over held-out text
<out>/curves.png         loss over tokens
<out>/model/             the trained model: loads as it is
"""

import contextlib
import json
import math
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch

from configs.errors import BackendError, ConfigError
from configs.load import digest, dump, size_of
from configs.schema.training import ModelSize, Training
from model.data.loader import Batch, Loader
from model.data.tokenize import tokenize
from model.data.tokenizer_training import train_tokenizer
from model.device import use_threads
from model.lm import DsaConfig, DsaForCausalLM
from model.training import checkpoint
from model.training.distributed import ProcessGroup
from model.training.optimizers import build_optimizers, factor
from stages.storage.atomic import write_text

PEAK_FLOPS = {"H100": 989e12, "H200": 989e12, "A100": 312e12}  # dense bfloat16, from the data sheets
UNIGRAM_TOKENS = 50_000_000  # counted for the baseline
Watch = Callable[[dict[str, Any]], None]


def train(config: Training, shards: Sequence[Path], ranks: ProcessGroup, watch: Watch) -> dict[str, Any]:
    """Trains or goes on; returns steps, tokens, held-out loss and perplexity, and the unigram baseline's.

    `watch` gets each line of metrics as it is written. Raises ConfigError when `out` belongs to another configuration,
    InputError for shards and checkpoints that cannot be used, StoreError when the disk is full, BackendError when the
    loss is not finite; what was saved before stays.
    """
    return _Training(config, shards, ranks, watch).run()


def build_config(size: ModelSize, vocabulary: int) -> DsaConfig:
    """The preset with the changes of the configuration. Raises ConfigError naming the key."""
    fields = size_of(size.preset)
    known = {*fields, "attention", "fanout", "roots", "beam", "rope_theta", "rms_norm_eps", "initializer_range"}
    for name in size.changes:
        if name not in known:
            raise ConfigError(f"model.{name}: unknown key; there are preset, {', '.join(sorted(known))}")
    try:
        return DsaConfig(vocab_size=vocabulary, **fields | size.changes)
    except (ValueError, TypeError) as error:
        raise ConfigError(f"model: {error}") from None


@dataclass(slots=True)
class _Meter:
    """What has come since the last line: losses weighted by tokens, tokens, seconds."""

    loss: float = 0.0
    gate: float = 0.0
    tokens: int = 0
    steps: int = 0
    since: float = 0.0


class _Training:
    def __init__(self, config: Training, shards: Sequence[Path], ranks: ProcessGroup, watch: Watch) -> None:
        self.config, self.ranks, self.watch = config, ranks, watch
        self.out = Path(config.out)
        batch = config.batch
        if batch.sequences % (batch.micro * ranks.world_size):
            raise ConfigError(
                f"batch.sequences: {batch.sequences} cannot be dealt to {ranks.world_size} ranks in micro-batches of "
                f"{batch.micro}; change batch.micro or the number of ranks"
            )
        use_threads(config.threads or max((torch.get_num_threads()) // ranks.local_world_size, 1))
        torch.manual_seed(config.seed)
        self.shards = sorted(shards)
        data = config.data
        self.out.mkdir(parents=True, exist_ok=True)
        if data.tokenizer is None:
            assert data.vocabulary is not None
            self.tokenizer = self.out / "tokenizer"
            if ranks.rank == 0:
                train_tokenizer(self.shards, data.vocabulary, data.held_out, self.tokenizer)
            ranks.barrier()
        else:
            path = Path(data.tokenizer)
            self.tokenizer = path if path.is_dir() else path.parent
        files = tokenize(self.shards, self.tokenizer, self.out / "tokens", held_out=data.held_out, eos=data.eos)
        self.files = files
        self.found = checkpoint.latest(self.out)
        self._loader("held_out", epochs=1)  # without such rows: refused now, not at the first evaluation
        self.loader = self._loader("train")
        size = -(-self.loader.header.vocabulary // 64) * 64  # full tiles
        self.size = build_config(config.model, size)
        self.size.eos_token_id = self.loader.header.eos
        self.fingerprint = digest([_identity(config), self.size.to_dict(), self.loader.state() | {"step": 0}])
        if self.found and self.found.fingerprint != self.fingerprint:
            raise ConfigError(
                f"{self.found.folder}: a checkpoint of another configuration, or of other shards; go on with theirs "
                f"({self.out / 'config.yaml'}), or give another --out"
            )
        if self.found:
            self.loader = self._loader("train", state=self.found.loader)
        self.step = self.found.step if self.found else 0
        half = ranks.device.type == "cuda" if config.precision == "auto" else config.precision == "bfloat16"
        self.cast: Callable[[], Any] = (
            (lambda: torch.autocast(ranks.device.type, torch.bfloat16)) if half else contextlib.nullcontext
        )

    def run(self) -> dict[str, Any]:
        config, ranks = self.config, self.ranks
        if self.found:
            model = DsaForCausalLM.from_pretrained(self.found.folder, dtype=torch.float32)
        else:
            model = DsaForCausalLM(self.size)
        model.train()
        torch.nn.Module.to(model, ranks.device)
        if config.batch.length < 5 * self.size.block:  # too short for a choice: the gate is not taught
            for name, parameter in model.named_parameters():
                if ".gate." in name:
                    parameter.requires_grad_(False)
        optimizers = build_optimizers(model, config.optimizer)
        rates = [[group["lr"] for group in optimizer.param_groups] for optimizer in optimizers]
        if self.found:
            for optimizer, state in zip(optimizers, self.found.optimizers(), strict=True):
                optimizer.load_state_dict(state)
        if ranks.rank == 0:
            write_text(self.out / "config.yaml", dump(config))
            self._cut_metrics()
        wide = ranks.wrap(model)
        running = torch.compile(wide) if config.compile else wide
        baseline = self._unigram() if ranks.rank == 0 else math.nan
        meter, held_out = _Meter(since=time.monotonic()), math.nan
        while self.step < config.steps:
            share = factor(config.schedule, self.step, config.steps)
            for optimizer, of in zip(optimizers, rates, strict=True):
                for group, rate in zip(optimizer.param_groups, of, strict=True):
                    group["lr"] = rate * share
            self._step(running, wide, optimizers, meter)
            self.step += 1
            if self.step % config.log_every == 0 or self.step == config.steps:
                self._log(meter, rates[0][0] * share)
            if self.step % config.held_out.every == 0 or self.step == config.steps:
                held_out = self._held_out(model)
                self._say({"step": self.step, "held_out": held_out, "perplexity": math.exp(min(held_out, 50))})
                meter.since = time.monotonic()
            if (self.step % config.checkpoints.every == 0 or self.step == config.steps) and ranks.rank == 0:
                states = [optimizer.state_dict() for optimizer in optimizers]
                checkpoint.save(
                    self.out, self.step, model, self.tokenizer, states, self.loader.state(), self.fingerprint,
                    config.checkpoints.keep,
                )  # fmt: skip
                meter.since = time.monotonic()
        if math.isnan(held_out):  # all steps were done before
            held_out = self._held_out(model)
        return self._end(model, held_out, baseline)

    def _step(self, running: Any, wide: Any, optimizers: list[torch.optim.Optimizer], meter: _Meter) -> None:
        batch: Batch = next(self.loader)
        config, ranks = self.config, self.ranks
        (targets,) = ranks.sum(float((batch.labels_BT != -100).sum()))
        loss = gate = 0.0
        micros = len(batch.tokens_BT) // config.batch.micro
        for number, (tokens, labels, starts) in enumerate(self._micros(batch)):
            waits = ranks.world_size > 1 and number + 1 < micros
            with wide.no_sync() if waits else contextlib.nullcontext():
                with self.cast():
                    out = running(tokens, targets_BT=labels, starts_BT=starts, use_cache=False)
                share = float((labels != -100).sum()) / targets
                total = out.lm_loss * share * ranks.world_size  # the ranks' gradients are averaged
                if out.gate_loss is not None:
                    total = total + out.gate_loss / micros
                    gate += out.gate_loss.item() / micros / ranks.world_size
                total.backward()
                loss += out.lm_loss.item() * share
        loss, gate = ranks.sum(loss, gate)
        if not math.isfinite(loss) or not math.isfinite(gate):
            raise BackendError(
                f"step {self.step}: the loss is {loss}, the gate's {gate}; lower optimizer.learning_rate or "
                f"optimizer.clip and give another --out; checkpoints up to now are whole"
            )
        weights = [p for optimizer in optimizers for group in optimizer.param_groups for p in group["params"]]
        torch.nn.utils.clip_grad_norm_(weights, config.optimizer.clip)
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        meter.loss += loss
        meter.gate += gate
        meter.tokens += config.batch.sequences * config.batch.length
        meter.steps += 1

    def _micros(self, batch: Batch) -> Iterator[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
        device = self.ranks.device
        tensors = [torch.from_numpy(part).to(device, non_blocking=True) for part in batch]
        yield from zip(*(tensor.split(self.config.batch.micro) for tensor in tensors), strict=True)

    def _loader(self, split: Any, **options: Any) -> Loader:
        batch, ranks = self.config.batch, self.ranks
        return Loader(
            self.files, length=batch.length, lanes=batch.sequences, seed=self.config.seed, rank=ranks.rank,
            world_size=ranks.world_size, split=split, **options,
        )  # fmt: skip

    @torch.no_grad()
    def _held_out(self, model: DsaForCausalLM) -> float:
        """Mean loss in nats a token over the held-out rows, the same ones each time."""
        model.eval()
        summed = count = 0.0
        for number, batch in enumerate(self._loader("held_out", epochs=1)):
            if number == self.config.held_out.batches:
                break
            for tokens, labels, starts in self._micros(batch):
                here = float((labels != -100).sum())
                if here:
                    with self.cast():
                        out = model(tokens, targets_BT=labels, starts_BT=starts, use_cache=False)
                    summed += out.lm_loss.item() * here
                    count += here
        model.train()
        summed, count = self.ranks.sum(summed, count)
        return summed / count

    def _unigram(self) -> float:
        """Held-out loss of the training rows' token frequencies, add-one smoothed: what knowing no context gives."""
        counts = np.ones(self.size.vocab_size)
        held = np.zeros(self.size.vocab_size)
        for path in self.files:
            with pq.ParquetFile(path) as file:
                for batch in file.iter_batches(columns=["tokens", "held_out"], batch_size=1024):
                    kept = batch["held_out"].to_numpy(zero_copy_only=False)
                    for mask, into in ((~kept, counts), (kept, held)):
                        flat: Any = batch["tokens"].filter(mask).flatten().to_numpy()
                        into += np.bincount(flat, minlength=len(into))
                    if counts.sum() > UNIGRAM_TOKENS:
                        break
        return float(-(held * np.log(counts / counts.sum())).sum() / max(held.sum(), 1))

    def _log(self, meter: _Meter, rate: float) -> None:
        seconds = time.monotonic() - meter.since
        speed = meter.tokens / max(seconds, 1e-9)
        line = {
            "step": self.step,
            "loss": meter.loss / meter.steps,
            "gate_loss": meter.gate / meter.steps,
            "learning_rate": rate,
            "tokens": self.step * self.config.batch.sequences * self.config.batch.length,
            "tokens_per_second": round(speed, 1),
            "mfu": self._mfu(speed),
            "eta_s": round((self.config.steps - self.step) * seconds / meter.steps, 1),
        }
        self._say(line)
        meter.loss = meter.gate = 0.0
        meter.tokens = meter.steps = 0
        meter.since = time.monotonic()

    def _mfu(self, speed: float) -> float | None:
        """Model FLOP utilisation: of what is attended, over the devices' dense bfloat16 peak; None where unknown."""
        if self.ranks.device.type != "cuda":
            return None
        name = torch.cuda.get_device_name()
        peak = next((flops for part, flops in PEAK_FLOPS.items() if part in name), None)
        flops = self.size.flops_per_token(self.config.batch.length)
        return None if peak is None else round(speed * flops / (peak * self.ranks.world_size), 4)

    def _say(self, line: dict[str, Any]) -> None:
        if self.ranks.rank:
            return
        with (self.out / "metrics.jsonl").open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(line) + "\n")
        self.watch(line | {"steps": self.config.steps})

    def _cut_metrics(self) -> None:
        """Forgets the lines of steps that are done again."""
        path = self.out / "metrics.jsonl"
        if path.exists():
            lines = [line for line in path.read_text("utf-8").splitlines() if line.endswith("}")]
            kept = [line for line in lines if json.loads(line)["step"] <= self.step]
            write_text(path, "".join(line + "\n" for line in kept))

    def _end(self, model: DsaForCausalLM, held_out: float, baseline: float) -> dict[str, Any]:
        result = {
            "status": "done",
            "steps": self.step,
            "tokens": self.step * self.config.batch.sequences * self.config.batch.length,
            "epochs": round(self.loader.epoch, 2),
            "parameters": sum(parameter.numel() for parameter in model.parameters()),
            "held_out": held_out,
            "perplexity": math.exp(min(held_out, 50)),
            "unigram_perplexity": math.exp(min(baseline, 50)) if self.ranks.rank == 0 else None,
            "model": str(self.out / "model"),
        }
        if self.ranks.rank == 0:
            part = self.out / ".tmp-model"
            shutil.rmtree(part, ignore_errors=True)
            checkpoint.save_model(model, self.tokenizer, part)
            shutil.rmtree(self.out / "model", ignore_errors=True)
            part.rename(self.out / "model")
            write_text(self.out / "result.json", json.dumps(result, indent=1))
            from model.training.plot import draw

            draw(self.out / "metrics.jsonl", self.out / "curves.png", baseline)
        self.ranks.barrier()
        return result


def _identity(config: Training) -> dict[str, Any]:
    """What the result depends on: not where, how it is shown or kept, or how ranks and micro-batches share the work."""
    exclude: dict[str, Any] = dict.fromkeys(("name", "out", "log_every", "held_out", "checkpoints", "threads"), True)
    exclude |= {"batch": {"micro": True}, "compile": True, "data": {"tokenizer": True}}
    return config.model_dump(mode="json", exclude=exclude)

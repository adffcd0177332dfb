"""`train`: what `gristmill train` runs, on a CPU, a GPU, or the ranks that torchrun started.

<out>/config.yaml        the resolved configuration
<out>/tokenizer/         the tokenizer, where it was trained here
<out>/shared-text.json   held-out rows that are left out, since their text is in training rows too
<out>/tokens/            token files of the shards
<out>/checkpoints/…      the newest few; the same command resumes from the last one
<out>/metrics.jsonl      a line for each logged step, and one for each held-out loss
<out>/curves.png         loss over steps
<out>/model/             the trained model: a folder that loads by itself
<out>/result.json        what `train` returned
"""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from configs.errors import ConfigError
from configs.load import dump
from configs.schema.training import Training
from model.attention.gate import Gate
from model.data.training_record import TrainingRecord
from model.device import use_threads
from model.lm import DsaForCausalLM
from model.silence import silence
from model.training import checkpoint
from model.training.distributed import ProcessGroup
from model.training.held_out import held_out_loss, unigram_loss
from model.training.identity import describe
from model.training.lock import TrainingLock
from model.training.metrics import Metrics, Watch, perplexity
from model.training.model_config import build_model_config
from model.training.preparation import RESULT_FILE, Preparation, prepare
from model.training.saving import remove_leftovers, saving
from model.training.step import OptimizerStep
from model.training.stop import StopRequest
from model.training.training_data import TrainingData
from stages.storage.atomic import replacing, write_text

VOCABULARY_MULTIPLE = 64  # the model's vocabulary is rounded up to it: whole tiles for the GPU


def train(
    config: Training, shards: Sequence[Path], group: ProcessGroup, watch: Watch, *, allow_changes: bool = False
) -> dict[str, Any]:
    """Trains a model, or resumes the training in `config.out`. One that has finished is left as it is.

    SIGINT and SIGTERM end the training after its step, with a checkpoint; a second one ends it at once.

    Args:
        config: the resolved configuration.
        shards: published Parquet files.
        group: the processes that train together; each calls this.
        watch: is called with each line of metrics.jsonl as it is written, and with `{"notice": text}`.
        allow_changes: whether a resumed training may have other rates, another schedule, more steps or another
            precision than its checkpoint.

    Returns:
        Steps, tokens, parameters, held-out loss and perplexity, the unigram baseline's, and the model's folder. With
        the status `stopped`: the steps done and the checkpoint.

    Raises:
        ConfigError: the configuration cannot be used, or `out` contains another training; what differs is named.
        InputError: a shard, a checkpoint or the starting point cannot be used.
        StoreError: the disk is full, or another training works in `out`; checkpoints stay.
        BackendError: the loss, the gradient or a weight is not finite; checkpoints stay.
        KeyboardInterrupt: a signal came before the first step, or a second one; checkpoints stay.
    """
    batch, out = config.batch, Path(config.out)
    if batch.sequences % (batch.micro * group.world_size):
        raise ConfigError(
            f"batch.sequences: {batch.sequences} cannot be divided among {group.world_size} ranks in micro-batches of "
            f"{batch.micro}; change batch.micro or the number of ranks"
        )

    def notify(text: str) -> None:
        watch({"notice": text})

    shards = sorted(map(Path, shards))
    is_first_rank = group.rank == 0
    with TrainingLock(out, is_first_rank=is_first_rank), StopRequest(notify if is_first_rank else _ignore) as stop:
        try:
            if is_first_rank:
                remove_leftovers(out)
            preparation = prepare(config, shards, allow_changes=allow_changes)
            group.barrier()
            if preparation.result is not None:
                return preparation.result
            return _TrainingLoop(config, shards, group, watch, preparation, stop).run()
        except KeyboardInterrupt:
            if is_first_rank:
                notify(
                    f"stopped at once ({stop.signal_name or 'SIGINT'}); {out} keeps the token files and checkpoints "
                    "that are complete, and the same command goes on with them"
                )
            raise


def _ignore(text: str) -> None:
    pass


class _TrainingLoop:
    def __init__(
        self,
        config: Training,
        shards: Sequence[Path],
        group: ProcessGroup,
        watch: Watch,
        preparation: Preparation,
        stop: StopRequest,
    ) -> None:
        self.config, self.group, self.preparation, self.stop = config, group, preparation, stop
        self.out, self.resumed = Path(config.out), preparation.resumed
        self.is_first_rank = group.rank == 0
        self._watch = watch
        use_threads(config.threads, group.local_world_size)
        torch.manual_seed(config.seed)
        self.data = TrainingData(config, shards, preparation.rule, preparation.tokenizer, group, self._notify)
        held_out = self.data.loader("held_out", epochs=1)  # fails now, not at the first evaluation, without such rows
        self.loader = self.data.loader("train", state=self.resumed.record.loader if self.resumed else None)
        tokens = self.loader.header.vocabulary
        self.model_config = build_model_config(config.model, -(-tokens // VOCABULARY_MULTIPLE) * VOCABULARY_MULTIPLE)
        self.model_config.eos_token_id = self.loader.header.eos
        self.step = self.resumed.step if self.resumed else 0
        flops = self.model_config.flops_per_token(config.batch.length)
        self.metrics = Metrics(self.out / "metrics.jsonl", config, flops, group, watch)
        start = preparation.start
        if start and start.held_out is None and self.is_first_rank:
            self._notify(
                f"{start.folder} does not say which rows it was trained on: held-out figures may be of rows it has seen"
            )
        if self.is_first_rank:
            self._notify(
                f"{self.loader.documents:,} documents of {self.loader.tokens:,} tokens to train on, "
                f"{held_out.documents:,} of {held_out.tokens:,} held out; step {self.step} of {config.steps}"
            )

    def run(self) -> dict[str, Any]:
        """Runs the steps that are left, then writes the model and the result."""
        config, stop = self.config, self.stop
        model = self._open_model()
        optimizer_step = OptimizerStep(model, config, self.group)
        if self.resumed:
            optimizer_step.load_state(self.resumed.load_optimizers())
        if self.is_first_rank:
            with saving(self.out / "config.yaml"):
                write_text(self.out / "config.yaml", dump(config))
            dropped = self.metrics.drop_after(self.step)
            if dropped:
                self._notify(f"{self.out / 'metrics.jsonl'}: {dropped} damaged lines are left out")
            if self.preparation.changes:
                self._notify(f"going on with changes: {describe(self.preparation.changes)}")
                self.metrics.log_changes(self.step, self.preparation.changes)
        baseline = unigram_loss(self.data.files, self.model_config.vocab_size) if self.is_first_rank else math.nan
        held_out = math.nan
        self.metrics.restart_clock()
        stop.can_wait = True
        while self.step < config.steps:
            learning_rate = optimizer_step.learning_rate(self.step)
            self.metrics.add(optimizer_step.run(next(self.loader), self.step))
            self.step += 1
            if self._is_due(config.log_every):
                self.metrics.log_step(self.step, learning_rate)
            else:
                self.metrics.show_step(self.step)
            if self._is_due(config.held_out.every):
                held_out = self._held_out_loss(model)
                self.metrics.log_held_out(self.step, held_out)
                self.metrics.restart_clock()
            is_stopping = self.group.any(bool(stop.signal_name))
            if is_stopping or self._is_due(config.checkpoints.every):
                self._save_checkpoint(model, optimizer_step)
                self.metrics.restart_clock()
            if is_stopping and self.step < config.steps:
                return self._stopped()
        if math.isnan(held_out):  # an earlier call had done all steps
            held_out = self._held_out_loss(model)
        result = self._result(model, held_out, baseline)
        if self.is_first_rank:
            self._write_result(model, result, baseline)
        self.group.barrier()
        return result

    def _notify(self, text: str) -> None:
        self._watch({"notice": text})

    def _open_model(self) -> DsaForCausalLM:
        """Returns the resumed, the starting or a new model, on the device, in training mode."""
        start = self.preparation.start
        folder = self.resumed.folder if self.resumed else start.folder if start else None
        if folder:
            with silence():
                model = DsaForCausalLM.from_pretrained(folder, dtype=torch.float32)
        else:
            model = DsaForCausalLM(self.model_config)
        model.train()
        torch.nn.Module.to(model, self.group.device)
        if self.config.batch.length < self.model_config.sparsity.min_trained_length:
            for module in model.modules():
                if isinstance(module, Gate):
                    module.requires_grad_(False)
        return model

    def _is_due(self, every: int) -> bool:
        return self.step % every == 0 or self.step == self.config.steps

    def _held_out_loss(self, model: DsaForCausalLM) -> float:
        return held_out_loss(model, self.data.loader("held_out", epochs=1), self.config, self.group)

    def _record(self) -> TrainingRecord:
        config, preparation = self.config, self.preparation
        return TrainingRecord(
            self.step,
            config.steps,
            config.batch.length,
            preparation.rule,
            preparation.identity,
            self.loader.state(),
        )

    def _save_checkpoint(self, model: DsaForCausalLM, optimizer_step: OptimizerStep) -> None:
        optimizer_step.check_weights(self.step)
        if self.is_first_rank:
            states = [optimizer.state_dict() for optimizer in optimizer_step.optimizers]
            keep = self.config.checkpoints.keep
            checkpoint.save(self.out, model, self.data.vocabulary, states, self._record(), keep)

    def _stopped(self) -> dict[str, Any]:
        return {
            "status": "stopped",
            "signal": self.stop.signal_name,
            "steps": self.step,
            "checkpoint": str(self.out / "checkpoints" / f"step-{self.step:08d}"),
        }

    def _result(self, model: DsaForCausalLM, held_out: float, baseline: float) -> dict[str, Any]:
        return {
            "status": "done",
            "steps": self.step,
            "tokens": self.step * self.config.batch.sequences * self.config.batch.length,
            "epochs": round(self.loader.epoch, 2),
            "parameters": sum(parameter.numel() for parameter in model.parameters()),
            "held_out": held_out,
            "perplexity": perplexity(held_out),
            "unigram_perplexity": perplexity(baseline) if self.is_first_rank else None,
            "model": str(self.out / "model"),
        }

    def _write_result(self, model: DsaForCausalLM, result: dict[str, Any], baseline: float) -> None:
        from model.training.plot import draw_curves

        checkpoint.save_model(model, self.data.vocabulary, self._record(), self.out / "model")
        with saving(self.out / RESULT_FILE):
            write_text(self.out / RESULT_FILE, json.dumps(result, indent=1))
        with saving(self.out / "curves.png"), replacing(self.out / "curves.png") as temporary:
            draw_curves(self.out / "metrics.jsonl", temporary, baseline)

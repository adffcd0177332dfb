"""`train`: what `gristmill train` runs, on a CPU, a GPU, or the ranks that torchrun started.

<out>/config.yaml        the resolved configuration
<out>/tokenizer/         the tokenizer, where it was trained here
<out>/tokens/            token files of the shards
<out>/checkpoints/…      the newest few; the same command resumes from the last one
<out>/metrics.jsonl      a line for each logged step, and one for each held-out loss
<out>/curves.png         loss over steps
<out>/model/             the trained model: a folder that loads by itself
<out>/result.json        what `train` returned
"""

import json
import math
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from configs.errors import ConfigError
from configs.load import digest, dump
from configs.schema.training import Training
from model.attention.gate import Gate
from model.device import use_threads
from model.lm import DsaForCausalLM
from model.training import checkpoint
from model.training.distributed import ProcessGroup
from model.training.held_out import held_out_loss, unigram_loss
from model.training.metrics import Metrics, Watch, perplexity
from model.training.model_config import build_model_config
from model.training.step import OptimizerStep
from model.training.training_data import TrainingData
from stages.storage.atomic import write_text

VOCABULARY_MULTIPLE = 64  # the model's vocabulary is rounded up to it: whole tiles for the GPU


def train(config: Training, shards: Sequence[Path], group: ProcessGroup, watch: Watch) -> dict[str, Any]:
    """Trains a model, or resumes the training in `config.out`.

    Args:
        config: the resolved configuration.
        shards: published Parquet files.
        group: the processes that train together; each calls this.
        watch: is called on rank 0 with each line of metrics.jsonl as it is written.

    Returns:
        Steps, tokens, parameters, held-out loss and perplexity, the unigram baseline's, and the model's folder.

    Raises:
        ConfigError: `out` contains checkpoints of another configuration or of other shards.
        InputError: a shard or a checkpoint cannot be used.
        StoreError: the disk is full; checkpoints stay.
        BackendError: the loss is not finite; checkpoints stay.
    """
    return _TrainingLoop(config, sorted(shards), group, watch).run()


class _TrainingLoop:
    def __init__(self, config: Training, shards: Sequence[Path], group: ProcessGroup, watch: Watch) -> None:
        self.config, self.group = config, group
        self.out = Path(config.out)
        self._check_batch()
        use_threads(config.threads or max(torch.get_num_threads() // group.local_world_size, 1))
        torch.manual_seed(config.seed)
        self.out.mkdir(parents=True, exist_ok=True)
        if group.rank == 0:
            checkpoint.remove_leftovers(self.out)
        self.data = TrainingData(config, shards, group)
        self.data.loader("held_out", epochs=1)  # fails now, not at the first evaluation, if there are no such rows
        self.loader = self.data.loader("train")
        tokens = self.loader.header.vocabulary
        self.model_config = build_model_config(config.model, -(-tokens // VOCABULARY_MULTIPLE) * VOCABULARY_MULTIPLE)
        self.model_config.eos_token_id = self.loader.header.eos
        self.fingerprint = digest([_identity(config), self.model_config.to_dict(), self.loader.state() | {"step": 0}])
        self.resumed = checkpoint.latest(self.out)
        self.step = 0
        if self.resumed:
            if self.resumed.fingerprint != self.fingerprint:
                raise ConfigError(
                    f"{self.resumed.folder}: a checkpoint of another configuration, or of other shards; "
                    f"use theirs ({self.out / 'config.yaml'}) to resume it, or give another --out"
                )
            self.step = self.resumed.step
            self.loader = self.data.loader("train", state=self.resumed.loader)
        flops = self.model_config.flops_per_token(config.batch.length)
        self.metrics = Metrics(self.out / "metrics.jsonl", config, flops, group, watch)

    def run(self) -> dict[str, Any]:
        """Runs the steps that are left, then writes the model and the result."""
        config, is_first_rank = self.config, self.group.rank == 0
        model = self._open_model()
        optimizer_step = OptimizerStep(model, config, self.group)
        if self.resumed:
            optimizer_step.load_state(self.resumed.load_optimizers())
        if is_first_rank:
            write_text(self.out / "config.yaml", dump(config))
            self.metrics.drop_after(self.step)
        baseline = unigram_loss(self.data.files, self.model_config.vocab_size) if is_first_rank else math.nan
        held_out = math.nan
        self.metrics.restart_clock()
        while self.step < config.steps:
            learning_rate = optimizer_step.learning_rate(self.step)
            self.metrics.add(optimizer_step.run(next(self.loader), self.step))
            self.step += 1
            if self._is_due(config.log_every):
                self.metrics.log_step(self.step, learning_rate)
            if self._is_due(config.held_out.every):
                held_out = self._held_out_loss(model)
                self.metrics.log_held_out(self.step, held_out)
                self.metrics.restart_clock()
            if self._is_due(config.checkpoints.every) and is_first_rank:
                self._save_checkpoint(model, optimizer_step)
                self.metrics.restart_clock()
        if math.isnan(held_out):  # an earlier call had done all steps
            held_out = self._held_out_loss(model)
        result = self._result(model, held_out, baseline)
        if is_first_rank:
            self._write_result(model, result, baseline)
        self.group.barrier()
        return result

    def _check_batch(self) -> None:
        batch, world_size = self.config.batch, self.group.world_size
        if batch.sequences % (batch.micro * world_size):
            raise ConfigError(
                f"batch.sequences: {batch.sequences} cannot be divided among {world_size} ranks in micro-batches of "
                f"{batch.micro}; change batch.micro or the number of ranks"
            )

    def _open_model(self) -> DsaForCausalLM:
        """Returns the resumed or a new model, on the device, in training mode."""
        if self.resumed:
            model = DsaForCausalLM.from_pretrained(self.resumed.folder, dtype=torch.float32)
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

    def _save_checkpoint(self, model: DsaForCausalLM, optimizer_step: OptimizerStep) -> None:
        checkpoint.save(
            self.out,
            self.step,
            model,
            self.data.tokenizer,
            [optimizer.state_dict() for optimizer in optimizer_step.optimizers],
            self.loader.state(),
            self.fingerprint,
            self.config.checkpoints.keep,
        )

    def _result(self, model: DsaForCausalLM, held_out: float, baseline: float) -> dict[str, Any]:
        return {
            "status": "done",
            "steps": self.step,
            "tokens": self.step * self.config.batch.sequences * self.config.batch.length,
            "epochs": round(self.loader.epoch, 2),
            "parameters": sum(parameter.numel() for parameter in model.parameters()),
            "held_out": held_out,
            "perplexity": perplexity(held_out),
            "unigram_perplexity": perplexity(baseline) if self.group.rank == 0 else None,
            "model": str(self.out / "model"),
        }

    def _write_result(self, model: DsaForCausalLM, result: dict[str, Any], baseline: float) -> None:
        from model.training.plot import draw_curves

        temporary = self.out / ".tmp-model"
        shutil.rmtree(temporary, ignore_errors=True)
        checkpoint.save_model(model, self.data.tokenizer, temporary)
        shutil.rmtree(self.out / "model", ignore_errors=True)
        temporary.rename(self.out / "model")
        write_text(self.out / "result.json", json.dumps(result, indent=1))
        draw_curves(self.out / "metrics.jsonl", self.out / "curves.png", baseline)


def _identity(config: Training) -> dict[str, Any]:
    """Returns the part of the configuration that the trained weights depend on.

    Left out: names and places, what is logged and kept, and how ranks and micro-batches divide the work.
    """
    exclude: dict[str, Any] = dict.fromkeys(("name", "out", "log_every", "held_out", "checkpoints", "threads"), True)
    exclude |= {"batch": {"micro": True}, "compile": True, "data": {"tokenizer": True}}
    return config.model_dump(mode="json", exclude=exclude)

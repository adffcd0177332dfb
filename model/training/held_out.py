"""Loss on held-out text: the model's, and that of a unigram baseline to compare it with."""

import math
from collections.abc import Iterable, Sequence
from itertools import groupby, islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch

from configs.errors import BackendError, InputError
from configs.schema.training import Training
from model.data.loader import Loader
from model.data.token_file import RowGroup, row_groups
from model.lm import DsaForCausalLM
from model.training.distributed import ProcessGroup
from model.training.step import REMEDY, autocast, micro_batches

MAX_UNIGRAM_TOKENS = 50_000_000  # about so many training tokens are counted


@torch.no_grad()
def held_out_loss(model: DsaForCausalLM, loader: Loader, config: Training, group: ProcessGroup) -> float:
    """Returns the mean loss in nats a token over the first `held_out.batches` batches. All ranks must call this.

    Args:
        model: left in training mode.
        loader: a new one over the held-out split, so that each call measures the same documents.
        config: the training's configuration.
        group: the processes that share each batch.

    Raises:
        InputError: no held-out document has a token to predict.
        BackendError: the loss is not finite.
    """
    model.eval()
    nats = targets = 0.0
    for batch in islice(loader, config.held_out.batches):
        for micro in micro_batches(batch, config.batch.micro, group.device):
            count = micro.targets
            if count:
                with autocast(config.precision, group.device):
                    output = model(
                        micro.tokens_BT, targets_BT=micro.labels_BT, starts_BT=micro.starts_BT, use_cache=False
                    )
                nats += output.lm_loss.item() * count
                targets += count
    model.train()
    nats, targets = group.sum(nats, targets)
    if not targets:
        raise InputError("data.held_out: the held-out documents have no text; give more shards, or a larger share")
    if not math.isfinite(nats):
        raise BackendError(f"the held-out loss is {nats / targets}; {REMEDY}")
    return nats / targets


def unigram_loss(files: Sequence[Path], vocab_size: int) -> float:
    """Returns the held-out loss of the training tokens' frequencies with add-one smoothing, in nats a token.

    This is what a model reaches that ignores all context. Of more than MAX_UNIGRAM_TOKENS training tokens every n-th
    row group of all files is counted; held-out tokens are always all counted.

    Args:
        files: token files.
        vocab_size: all token ids are below it.
    """
    groups = [(path, group) for path in files for group in row_groups(pq.read_metadata(path))]
    trained = [(path, group) for path, group in groups if not group.held_out]
    every = max(-(-sum(group.tokens for _, group in trained) // MAX_UNIGRAM_TOKENS), 1)
    frequencies = 1.0 + _count_tokens(trained[::every], vocab_size)
    held_out = _count_tokens([(path, group) for path, group in groups if group.held_out], vocab_size)
    return float(-(held_out * np.log(frequencies / frequencies.sum())).sum() / max(held_out.sum(), 1))


def _count_tokens(groups: Iterable[tuple[Path, RowGroup]], vocab_size: int) -> np.ndarray:
    """Returns how often each token id occurs in these row groups, as float64 [vocab_size]."""
    counts = np.zeros(vocab_size)
    for path, pairs in groupby(groups, key=lambda pair: pair[0]):
        with pq.ParquetFile(path) as file:
            for _, group in pairs:
                tokens: Any = file.read_row_group(group.number, columns=["tokens"]).column(0).combine_chunks()
                counts += np.bincount(tokens.flatten().to_numpy(), minlength=vocab_size)
    return counts

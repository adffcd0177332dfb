"""`TrainingData`: the tokenizer, the token files and the loaders of a training."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from configs.schema.training import Training
from model.data.epoch_plan import Split
from model.data.loader import Loader
from model.data.tokenize import tokenize
from model.data.tokenizer_training import train_tokenizer
from model.training.distributed import ProcessGroup


class TrainingData:
    """Tokenizes the shards into `<out>/tokens`, after training a tokenizer where the configuration names none.

    Raises:
        InputError: a shard or the tokenizer cannot be used.
        StoreError: the disk is full.
    """

    def __init__(self, config: Training, shards: Sequence[Path], group: ProcessGroup) -> None:
        self._config, self._group = config, group
        out, data = Path(config.out), config.data
        if data.tokenizer is None:
            assert data.vocabulary is not None
            self.tokenizer = out / "tokenizer"
            if group.rank == 0:
                train_tokenizer(shards, data.vocabulary, data.held_out, self.tokenizer)
            group.barrier()
        else:
            path = Path(data.tokenizer)
            self.tokenizer = path if path.is_dir() else path.parent
        self.files = tokenize(shards, self.tokenizer, out / "tokens", held_out=data.held_out, eos=data.eos)

    def loader(self, split: Split, *, epochs: int | None = None, state: Mapping[str, Any] | None = None) -> Loader:
        """Returns a loader of this rank's part of the batches.

        Raises:
            InputError: the split has no documents, or `state` belongs to other data.
        """
        config, group = self._config, self._group
        return Loader(
            self.files,
            length=config.batch.length,
            lanes=config.batch.sequences,
            seed=config.seed,
            rank=group.rank,
            world_size=group.world_size,
            split=split,
            epochs=epochs,
            state=state,
        )

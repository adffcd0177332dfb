"""`TrainingData`: the tokenizer, the token files and the loaders of a training."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from configs.schema.training import Training
from model.data.epoch_plan import Split
from model.data.loader import Loader
from model.data.shards import HeldOutRule
from model.data.shared_text import SharedText, find_shared_rows_once
from model.data.tokenize import tokenize
from model.data.tokenizer_training import train_tokenizer
from model.data.vocabulary import Vocabulary
from model.training.distributed import ProcessGroup
from model.training.saving import saving

SHARED_TEXT_FILE = "shared-text.json"


class TrainingData:
    """Tokenizes the shards into `<out>/tokens`, after training a tokenizer where none is given.

    Args:
        config: the training's configuration.
        shards: published Parquet files.
        rule: which rows are held out.
        tokenizer: a tokenizer.json or its folder; None: one is trained.
        group: the processes of the training; each calls this.
        notify: is called with a line before each part of the work that takes time.

    Raises:
        InputError: a shard or the tokenizer cannot be used.
        StoreError: the disk is full.
    """

    def __init__(
        self,
        config: Training,
        shards: Sequence[Path],
        rule: HeldOutRule,
        tokenizer: Path | None,
        group: ProcessGroup,
        notify: Callable[[str], None],
    ) -> None:
        self._config, self._group = config, group
        out, data = Path(config.out), config.data
        if group.rank == 0:
            with saving(out / SHARED_TEXT_FILE):
                shared_text = find_shared_rows_once(shards, rule, out / SHARED_TEXT_FILE)
            if shared_text.shared:
                notify(_describe(shared_text))
            if tokenizer is None:
                assert data.vocabulary is not None
                notify(f"tokenizer of {data.vocabulary} tokens, learnt from {len(shards)} shards")
                with saving(out / "tokenizer"):
                    train_tokenizer(shards, data.vocabulary, rule, out / "tokenizer")
        group.barrier()
        left_out = find_shared_rows_once(shards, rule, out / SHARED_TEXT_FILE).left_out
        path = tokenizer or out / "tokenizer"
        self.files = tokenize(
            shards,
            path,
            out / "tokens",
            held_out=rule,
            eos=data.eos,
            left_out=left_out,
            watch=lambda number: notify(f"tokenizing shard {number + 1} of {len(shards)}"),
        )
        self.vocabulary = Vocabulary.open(path, data.eos)

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


def _describe(shared_text: SharedText) -> str:
    rows = f"{shared_text.shared} of {shared_text.held_out} held-out rows share a fifth or more of their 13-grams"
    if shared_text.left_out:
        return f"{rows} with training rows; they are neither trained on nor evaluated"
    return f"{rows} with training rows, so held-out figures are too good; give more varied data"

"""`train_tokenizer`: a byte-level BPE tokenizer trained on the shards, for a configuration that names none."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from model.data.shards import read_texts
from stages.storage.atomic import write_text

EOS_TOKEN, PAD_TOKEN = "<|endoftext|>", "<|padding|>"
MAX_SAMPLE_CHARACTERS = 200_000_000  # of text over all shards; more changes the vocabulary little


def train_tokenizer(shards: Sequence[Path], size: int, held_out: float, folder: Path) -> Path:
    """Trains a tokenizer on the rows that are not held out; a folder that has one already is left as it is.

    The same shards give the same vocabulary.

    Args:
        shards: published Parquet files.
        size: tokens of the vocabulary.
        held_out: share of the seeds whose rows are not read.
        folder: where tokenizer.json and tokenizer_config.json are written.

    Returns:
        `folder`.

    Raises:
        InputError: a shard cannot be read.
    """
    if (folder / "tokenizer_config.json").is_file():  # written last
        return folder
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=[EOS_TOKEN, PAD_TOKEN],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_sample(shards, held_out), trainer)
    write_text(folder / "tokenizer.json", tokenizer.to_str())
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": EOS_TOKEN, "pad_token": PAD_TOKEN}
    write_text(folder / "tokenizer_config.json", json.dumps(config, indent=1))
    return folder


def _sample(shards: Sequence[Path], held_out: float) -> Iterator[list[str]]:
    """Yields texts of every shard, about the same amount of each, so that no domain is missing from a large sample."""
    for shard in sorted(shards):
        characters_left = MAX_SAMPLE_CHARACTERS // len(shards)
        for rows in read_texts(shard, held_out):
            texts = [row.text for row in rows if not row.held_out]
            yield texts
            characters_left -= sum(map(len, texts))
            if characters_left < 0:
                break

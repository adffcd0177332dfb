"""`train_tokenizer`: a byte-level BPE tokenizer trained on the shards, for a configuration that names none."""

import json
from collections.abc import Iterator, Sequence
from hashlib import sha256
from pathlib import Path

from model.data.shards import HeldOutRule, read_texts, shard_sha256
from stages.storage.atomic import write_text

EOS_TOKEN, PAD_TOKEN = "<|endoftext|>", "<|padding|>"
MAX_SAMPLE_CHARACTERS = 200_000_000  # of text over all shards; more changes the vocabulary little


RECIPE_FILE = "recipe.json"  # what a tokenizer was trained on; written last


def train_tokenizer(shards: Sequence[Path], size: int, held_out: float | HeldOutRule, folder: Path) -> Path:
    """Trains a tokenizer on the rows that are not held out.

    A folder that has one of the same shards, size and held-out rows is left as it is; any other is replaced. The same
    shards give the same vocabulary.

    Args:
        shards: published Parquet files.
        size: tokens of the vocabulary.
        held_out: which rows are not read; a number is the share of the documents.
        folder: where tokenizer.json, tokenizer_config.json and recipe.json are written.

    Returns:
        `folder`.

    Raises:
        InputError: a shard cannot be read.
        OSError: the folder cannot be written.
    """
    rule = held_out if isinstance(held_out, HeldOutRule) else HeldOutRule(held_out)
    content = [size, rule.share, rule.by, sorted(map(shard_sha256, shards))]
    recipe = {"vocabulary": size, "sha256": sha256(json.dumps(content).encode()).hexdigest()}
    if _read(folder / RECIPE_FILE) == recipe | {"tokenizer": _hash(folder / "tokenizer.json")}:
        return folder
    (folder / RECIPE_FILE).unlink(missing_ok=True)
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
    tokenizer.train_from_iterator(_sample(shards, rule), trainer)
    write_text(folder / "tokenizer.json", tokenizer.to_str())
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": EOS_TOKEN, "pad_token": PAD_TOKEN}
    write_text(folder / "tokenizer_config.json", json.dumps(config, indent=1))
    write_text(folder / RECIPE_FILE, json.dumps(recipe | {"tokenizer": _hash(folder / "tokenizer.json")}))
    return folder


def _read(path: Path) -> object:
    try:
        return json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return None


def _hash(path: Path) -> str:
    return sha256(path.read_bytes()).hexdigest() if path.is_file() else ""


def _sample(shards: Sequence[Path], held_out: HeldOutRule) -> Iterator[list[str]]:
    """Yields texts of every shard, about the same amount of each, so that no domain is missing from a large sample."""
    for shard in sorted(shards):
        characters_left = MAX_SAMPLE_CHARACTERS // len(shards)
        for rows in read_texts(shard, held_out):
            texts = [row.text for row in rows if not row.held_out]
            yield texts
            characters_left -= sum(map(len, texts))
            if characters_left < 0:
                break

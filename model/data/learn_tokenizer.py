"""A tokenizer learnt from the shards: byte-level BPE, for those who bring none."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from model.data.tokenize import read_texts
from stages.storage.atomic import write_text

END, PAD = "<|endoftext|>", "<|padding|>"
SAMPLE_BYTES = 200_000_000  # of text: more changes little


def learn(files: Sequence[Path], size: int, held_out: float, folder: Path) -> Path:
    """The folder with tokenizer.json and its configuration; made once, from rows that are not held out.

    The same shards give the same tokens. Raises InputError as `model.data.tokenize.tokenize`.
    """
    if (folder / "tokenizer_config.json").is_file():
        return folder
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=[END, PAD],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_texts(files, held_out), trainer)
    write_text(folder / "tokenizer.json", tokenizer.to_str())
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": END, "pad_token": PAD}
    write_text(folder / "tokenizer_config.json", json.dumps(config, indent=1))
    return folder


def _texts(files: Sequence[Path], held_out: float) -> Iterator[list[str]]:
    """Texts of all files in turn, so that a sample is of all of them."""
    for file in sorted(files):
        share = SAMPLE_BYTES // len(files)
        for texts, rows in read_texts(file, held_out):
            kept = [text for text, (_, _, held) in zip(texts, rows, strict=True) if not held]
            yield kept
            share -= sum(map(len, kept))
            if share < 0:
                break

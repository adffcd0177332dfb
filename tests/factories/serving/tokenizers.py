"""Small tokenizers of the kinds that models have, trained in a moment on a few sentences."""

import json
from functools import cache
from pathlib import Path
from typing import Any

from tests.factories.chat_templates import CHATML

TEXT = [
    "The tenant must be given notice of thirty days before the lease ends.",
    "A patient with a fever of 39 °C was treated with paracetamol, and the fever fell.",
    "naïve café über straße, 你好世界, 👍🏽👩‍👩‍👧 emoji, Ελληνικά, русский язык, हिन्दी",
    "  two spaces,\n\nnew lines\tand tabs; don't, can't, it's.",
]
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]


@cache
def byte_level(vocabulary: int = 320) -> Any:
    """Byte-level BPE, as GPT-2's, Llama 3's, Qwen's and ours, with ChatML turns."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(TEXT, trainer)
    return _wrapped(tokenizer, eos_token="<|im_end|>", pad_token="<|endoftext|>", chat_template=CHATML)


@cache
def byte_fallback() -> Any:
    """BPE over words with a mark for spaces, and bytes for characters that it lacks, as Llama 2's and Mistral's."""
    from tokenizers import Tokenizer, decoders, models, normalizers, trainers

    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    special = ["<unk>", "<s>", "</s>"]
    trainer = trainers.BpeTrainer(vocab_size=100, special_tokens=special, show_progress=False)
    tokenizer.train_from_iterator([TEXT[0], TEXT[1]], trainer)
    state = json.loads(tokenizer.to_str())
    vocabulary = state["model"]["vocab"]
    vocabulary |= {f"<0x{byte:02X}>": len(vocabulary) + byte for byte in range(256)}
    tokenizer = Tokenizer.from_str(json.dumps(state))
    return _wrapped(tokenizer, bos_token="<s>", eos_token="</s>", unk_token="<unk>")


@cache
def unigram() -> Any:
    """A Unigram model with Metaspace, as T5's and XLM-R's."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=120, special_tokens=["<unk>", "</s>"], unk_token="<unk>", show_progress=False
    )
    tokenizer.train_from_iterator(TEXT, trainer)
    return _wrapped(tokenizer, eos_token="</s>", unk_token="<unk>")


@cache
def word_piece() -> Any:
    """WordPiece, as BERT's: words and their endings, spaces from the decoder."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    trainer = trainers.WordPieceTrainer(vocab_size=200, special_tokens=["[UNK]", "[SEP]"], show_progress=False)
    tokenizer.train_from_iterator(TEXT, trainer)
    return _wrapped(tokenizer, eos_token="[SEP]", unk_token="[UNK]")


def save(tokenizer: Any, folder: Path) -> None:
    """Saves a tokenizer into a model's folder."""
    tokenizer.save_pretrained(folder)


def _wrapped(tokenizer: Any, chat_template: str | None = None, **names: str) -> Any:
    from transformers import PreTrainedTokenizerFast

    wrapped = PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names)
    if chat_template:
        wrapped.chat_template = chat_template
    return wrapped

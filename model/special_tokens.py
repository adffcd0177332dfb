"""Special tokens that a text spells out: read as plain text, so that nobody can begin or end a turn with them."""

from typing import Any

from stages.storage.utf8 import without_surrogates


def plain(tokenizer: Any, text: str) -> str:
    """The text with special tokens broken up, and without lone surrogates, on which tokenizers raise."""
    text = without_surrogates(text)
    for special in sorted(special_tokens(tokenizer), key=lambda name: (-len(name), name)):
        text = text.replace(special, f"{special[0]} {special[1:]}")
    return text


def special_tokens(tokenizer: Any) -> dict[str, int]:
    """The ids of the tokens that the tokenizer reads as special, by their text; those of one character are left out."""
    added = getattr(tokenizer, "added_tokens_decoder", {})
    tokens = {token.content: number for number, token in added.items() if token.special}
    for name in getattr(tokenizer, "all_special_tokens", ()):
        tokens.setdefault(name, tokenizer.convert_tokens_to_ids(name))
    return {name: number for name, number in tokens.items() if len(name) > 1}

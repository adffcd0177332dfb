"""Where the tokens of a prompt are in its text, for `echo`."""

from collections.abc import Sequence

from model.serve.api.text.choice import TextToken
from model.serve.api.text.tokenizer import Tokenizer


def place_prompt(
    tokenizer: Tokenizer, tokens: Sequence[int], text: str | None, *, skip_special_tokens: bool
) -> tuple[str, list[TextToken]]:
    """A prompt's text and its tokens with their spans.

    Args:
        tokenizer: of the model.
        tokens: of the prompt.
        text: as it was sent; special tokens that it does not spell out were added and have no characters. None if the
            prompt was sent as token ids.
        skip_special_tokens: of a prompt that was sent as token ids, special tokens have no characters.
    """
    detokenizer = tokenizer.detokenizer()
    rows: list[TextToken] = []
    incomplete: list[TextToken] = []
    pieces: list[str] = []
    length = 0

    def complete(piece: str) -> None:
        nonlocal length
        pieces.append(piece)
        length += len(piece)
        for row in incomplete:
            row.end = length
        incomplete.clear()

    for token in tokens:
        row = TextToken(token, None, start=length, in_prompt=True)
        rows.append(row)
        is_silent = False
        if token in tokenizer.special_ids:
            name = tokenizer.token_text(token)
            is_silent = skip_special_tokens if text is None else not text.startswith(name, length)
        piece = "" if is_silent else detokenizer.feed(token)
        if piece:
            complete(piece)
        if detokenizer.is_pending:
            incomplete.append(row)
        else:
            row.end = length
    complete(detokenizer.finish())
    return (text if text is not None else "".join(pieces)), rows

"""Tokens to text: the pieces are the whole, never half a character, and nothing of a stop string leaves."""

import itertools

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from model.serve.api.text.choice import Choice, ChoiceOptions
from model.serve.api.text.stop_strings import StopStrings
from model.serve.api.text.tokenizer import Tokenizer
from model.serve.port import GenerationStep, TokenLogprob
from model.serve.sandbox import Guard
from tests.factories.serving import tokenizers

KINDS = ("byte_level", "byte_fallback", "unigram", "word_piece")
TEXTS = ["Hello  world", "naïve 你好 👩‍👩‍👧!", "\n\n  indented", " leading", "", "a\ufffdb", "don't stop . now ,", "﷽ñ"]


def tokenizer_of(kind: str) -> Tokenizer:
    return Tokenizer(getattr(tokenizers, kind)())


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=150)
@given(data=st.data())
def test_pieces_are_the_text_of_all_tokens(kind, data):
    """For any tokens, also those that no text encodes to: half characters, special tokens, wrong bytes."""
    tokenizer = tokenizer_of(kind)
    ids = st.integers(0, len(tokenizer.wrapped) - 1)
    tokens = data.draw(st.lists(ids, max_size=24))
    detokenizer = tokenizer.detokenizer()
    pieces = [detokenizer.feed(token) for token in tokens]
    pieces.append(detokenizer.finish())
    assert "".join(pieces) == tokenizer.wrapped.decode(tokens, clean_up_tokenization_spaces=False)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("text", TEXTS)
def test_pieces_of_a_text(kind, text):
    tokenizer = tokenizer_of(kind)
    tokens = tokenizer.encode_now(text, add_special_tokens=False)
    detokenizer = tokenizer.detokenizer()
    pieces = [detokenizer.feed(token) for token in tokens] + [detokenizer.finish()]
    assert "".join(pieces) == tokenizer.wrapped.decode(tokens, clean_up_tokenization_spaces=False)
    if "\ufffd" not in text:
        assert not any("\ufffd" in piece for piece in pieces)


def test_a_character_leaves_with_its_last_byte():
    tokenizer = tokenizer_of("byte_fallback")
    ids = [tokenizer.wrapped.convert_tokens_to_ids(f"<0x{byte:02X}>") for byte in "é".encode()]
    word = tokenizer.encode_now("the", add_special_tokens=False)
    detokenizer = tokenizer.detokenizer()
    pieces = [detokenizer.feed(token) for token in [*ids, *word]]
    assert pieces[:2] == ["", ""]  # a third byte could still make the run invalid, and U+FFFD of all of it
    assert "".join(pieces) == "é the"


@pytest.mark.parametrize("kind", KINDS)
def test_token_texts_put_together_are_the_text(kind):
    """What logprobs show: each token with its space, wherever in the text it is."""
    tokenizer = tokenizer_of(kind)
    tokens = tokenizer.encode_now("The tenant must be given notice", add_special_tokens=False)
    assert "".join(map(tokenizer.token_text, tokens)).strip() == tokenizer.decode(tokens).strip()
    content = b"".join(map(tokenizer.token_bytes, tokens)).decode()
    assert content.strip() == tokenizer.decode(tokens).strip()


def test_parts_of_characters_are_shown_as_bytes():
    tokenizer = tokenizer_of("byte_level")
    tokens = tokenizer.encode_now("\U0001f9ff", add_special_tokens=False)
    assert len(tokens) > 1
    assert tokenizer.token_text(tokens[0]).startswith("bytes:\\xf0")
    assert b"".join(map(tokenizer.token_bytes, tokens)).decode() == "\U0001f9ff"


def first_end(text: str, stops: list[str]) -> tuple[str, bool]:
    """What StopStrings should say of a whole text: the stop string that is complete first, character by character."""
    for end in range(1, len(text) + 1):
        starts = [end - len(stop) for stop in stops if text[:end].endswith(stop)]
        if starts:
            return text[: min(starts)], True
    return text, False


@settings(max_examples=300)
@given(
    text=st.text("ab.\n", max_size=14),
    stops=st.lists(st.text("ab.\n", min_size=1, max_size=4), max_size=3),
    cuts=st.lists(st.integers(0, 14), max_size=6),
)
@example(text="abab.", stops=["abab", "ba"], cuts=[1, 2, 3])
def test_stop_strings_are_found_however_the_text_is_cut(text, stops, cuts):
    finder = StopStrings(stops)
    places = sorted({0, len(text), *(cut for cut in cuts if cut < len(text))})
    passed, stopped = "", False
    for start, end in itertools.pairwise(places):
        piece, stopped = finder.feed(text[start:end])
        passed += piece
        if stopped:
            break
    expected, expected_stop = first_end(text, stops)
    assert expected.startswith(passed)  # nothing left too early
    assert (passed if stopped else passed + finder.finish(), stopped) == (expected, expected_stop)


def test_only_what_may_begin_a_stop_string_is_held_back():
    finder = StopStrings(["###"])
    assert finder.feed("a#") == ("a", False)
    assert finder.feed("b") == ("#b", False)
    assert finder.feed("##") == ("", False)
    assert finder.feed("x") == ("##x", False)


def test_the_stop_string_itself_may_be_asked_for():
    finder = StopStrings(["END"], include=True)
    assert finder.feed("one EN") == ("one ", False)
    assert finder.feed("D two") == ("END", True)


def chosen(tokens: list[int], sizes: list[int], options: ChoiceOptions, *, ended_by: int | None = None):
    """A choice fed with steps of such sizes, and what left."""
    choice = Choice(tokenizer_of("byte_level"), options, Guard(()))
    deltas, place = [], 0
    while place < len(tokens):
        size = sizes[len(deltas) % len(sizes)]
        chunk = tokens[place : place + size]
        place += len(chunk)
        is_last = place >= len(tokens)
        entries = tuple(TokenLogprob(token, -1.0, ()) for token in chunk)
        reason = ("stop" if ended_by else "length") if is_last else None
        deltas.append(choice.feed(GenerationStep(tuple(chunk), entries, None, reason, ended_by if is_last else None)))
        if deltas[-1].finish_reason:
            break
    return choice, deltas


@settings(max_examples=100)
@given(sizes=st.lists(st.integers(1, 5), min_size=1, max_size=4), data=st.data())
def test_text_and_tokens_leave_together(sizes, data):
    """After each delta the tokens that left are those of the text that left."""
    tokenizer = tokenizer_of("byte_level")
    text = data.draw(st.text("ab 你é#\n", max_size=20))
    tokens = tokenizer.encode_now(text, add_special_tokens=False)
    if not tokens:
        return
    _, deltas = chosen(tokens, sizes, ChoiceOptions(stops=("##", "\n\n")))
    left_text, left_tokens = "", []
    for delta in deltas:
        left_text += delta.text
        left_tokens += [token.id for token in delta.tokens]
        whole = tokenizer.decode(left_tokens)
        if not delta.finish_reason:
            assert left_text.startswith(whole)
            assert len(left_tokens) <= len(tokens)
    expected, is_stopped = first_end(text, ["##", "\n\n"])
    assert left_text == expected
    assert deltas[-1].finish_reason == ("stop" if is_stopped else "length")
    if not is_stopped:
        assert left_tokens == tokens
    else:
        assert tokenizer.decode(left_tokens).startswith(expected)


def test_the_end_token_has_no_text_but_a_place_among_the_tokens():
    tokenizer = tokenizer_of("byte_level")
    end = tokenizer.wrapped.eos_token_id
    tokens = [*tokenizer.encode_now("notice", add_special_tokens=False), end]
    choice, deltas = chosen(tokens, [1], ChoiceOptions(skip_special_tokens=False), ended_by=end)
    assert "".join(delta.text for delta in deltas) == "notice"
    assert [token.id for delta in deltas for token in delta.tokens] == tokens
    assert choice.generated == choice.sent == len(tokens)


def test_offsets_are_those_of_the_text():
    tokenizer = tokenizer_of("byte_level")
    text = "The tenant 你好 notice"
    tokens = tokenizer.encode_now(text, add_special_tokens=False)
    _, deltas = chosen(tokens, [3], ChoiceOptions())
    for token in (token for delta in deltas for token in delta.tokens):
        content = tokenizer.token_bytes(token.id)
        if not tokenizer.token_text(token.id).startswith("bytes:"):
            assert text[token.offset :].encode().startswith(content)


@pytest.mark.parametrize(
    ("stops", "min_tokens", "text"),
    [
        (("#",), 1, "a"),
        (("#",), 2, "a#b"),
        (("#",), 3, "a#b"),
        (("#",), 4, "a#b#c"),
        (("b#",), 3, "a#"),  # begins in the third token, ends in the fourth
        (("#b#",), 3, "a"),
        (("#b#", "b"), 3, "a"),  # the shorter one is over, the longer one not
        (("b", "#b#x"), 3, "a#b#c"),
        (("c",), 5, "a#b#c"),
    ],
)
@pytest.mark.parametrize("size", [1, 2, 5])
def test_stop_strings_that_end_in_the_first_min_tokens_do_not_count(stops, min_tokens, text, size):
    tokenizer = tokenizer_of("byte_level")
    tokens = [tokenizer.encode_now(text, add_special_tokens=False)[0] for text in "a#b#c"]
    _, deltas = chosen(tokens, [size], ChoiceOptions(stops=stops, min_tokens=min_tokens))
    assert "".join(delta.text for delta in deltas) == text
    assert deltas[-1].finish_reason == ("length" if text == "a#b#c" else "stop")

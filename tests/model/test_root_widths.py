"""Which kernels the choice of a text's blocks needs: all are compiled by a few short chunks."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("torch")

from model.attention.sparsity import Sparsity

SMALL = Sparsity(block=4, top=5, fanout=2, roots=32, beam=4)


def kinds(sparsity: Sparsity, first: int, last: int) -> set[tuple[int, int]]:
    parts = sparsity.root_widths(first, last, last // sparsity.block)
    assert [(level, begin, end) for level, _, begin, end in parts] == sparsity.ranges(first, last)
    return {(level, width) for level, width, *_ in parts}


@given(st.sampled_from([SMALL, Sparsity()]), st.integers(1, 40), st.data())
def test_no_chunk_needs_a_kernel_that_these_chunks_do_not(sparsity: Sparsity, size: int, data: st.DataObject) -> None:
    longest = size * sparsity.block * 40 + data.draw(st.integers(0, sparsity.block))
    chunk = 2 * sparsity.block
    compiled = set[tuple[int, int]]()
    for offset in sparsity.offsets_of_all_widths(chunk, longest):
        assert 0 <= offset <= longest - chunk
        compiled |= kinds(sparsity, offset, offset + chunk)
    last = data.draw(st.integers(sparsity.dense_below + 1, max(longest, sparsity.dense_below + 1)))
    first = data.draw(st.integers(0, last - 1))
    if last <= longest:
        assert kinds(sparsity, first, last) <= compiled


def test_texts_beyond_the_last_doubling_are_among_them() -> None:
    """A chunk at each doubling of the length left out level 1 with 64 and, for 88,064 tokens, with 256 nodes."""
    sparsity = Sparsity()
    offsets = sparsity.offsets_of_all_widths(128, 88_064)
    found = set[tuple[int, int]]().union(*(kinds(sparsity, offset, offset + 128) for offset in offsets))
    assert found == {(0, 16), (0, 32), (0, 64), (0, 128), (0, 256), (0, 512), (1, 64), (1, 128), (1, 256)}
    assert len(offsets) == 9


def test_a_text_that_is_dense_needs_none() -> None:
    assert Sparsity().offsets_of_all_widths(128, 1024) == []

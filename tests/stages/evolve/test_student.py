"""The n-gram student: proper probabilities, equal to a slow reference, and the same for many students at once."""

import math
from collections import Counter, defaultdict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.evolve.student import ORDER, ByteStudent, windows
from stages.evolve.student_pool import StudentPool

TEXTS = st.lists(st.one_of(st.text("ab", max_size=12), st.text(max_size=12)), max_size=5)


class Reference:
    """The same model as its formula says it, byte by byte."""

    def __init__(self, texts):
        self.following = defaultdict(Counter)
        for text in texts:
            for context, byte in self.steps(text):
                for length in range(ORDER):
                    self.following[context[ORDER - 1 - length :]][byte] += 1

    @staticmethod
    def steps(text):
        data = bytes(ORDER - 1) + text.encode("utf-8", "replace")
        return [(data[at - ORDER + 1 : at], data[at]) for at in range(ORDER - 1, len(data))]

    def probability(self, context, byte):
        p = 1 / 256
        for length in range(ORDER):
            counts = self.following.get(context[ORDER - 1 - length :])
            if counts:
                p = (counts[byte] + len(counts) * p) / (counts.total() + len(counts))
        return p

    def bits(self, text):
        return -sum(math.log2(self.probability(context, byte)) for context, byte in self.steps(text))


@given(TEXTS, TEXTS)
def test_bits_are_those_of_the_formula(learnt, held_out):
    reference = Reference(learnt)
    assert ByteStudent.train(learnt).bits_of(held_out) == pytest.approx([reference.bits(text) for text in held_out])


@given(TEXTS, st.binary(min_size=ORDER - 1, max_size=ORDER - 1))
def test_probabilities_of_all_next_bytes_sum_to_one(learnt, context):
    after = np.array([int.from_bytes(context + bytes([byte])) for byte in range(256)], np.uint64)
    probabilities = ByteStudent.train(learnt).probabilities(after)
    assert probabilities.sum() == pytest.approx(1)
    assert probabilities.min() > 0


@given(TEXTS, TEXTS, st.data())
def test_many_students_at_once_are_the_same_students(texts, held_out, data):
    chosen = np.array([[data.draw(st.integers(0, 2)) for _ in texts] for _ in range(3)]).reshape(3, len(texts))
    lessons = [[text for text, times in zip(texts, row, strict=True) for _ in range(times)] for row in chosen]
    expected = [ByteStudent.train(lesson).bits_of(held_out) for lesson in lessons]
    assert StudentPool(texts, held_out).bits(chosen) == pytest.approx(np.array(expected).reshape(3, len(held_out)))


def test_the_order_of_texts_and_what_is_beside_them_does_not_matter():
    student = ByteStudent.train(["a lease ends", "by notice"])
    assert student.bits("in writing") == ByteStudent.train(["by notice", "a lease ends"]).bits("in writing")
    assert student.bits_of(["in writing", "ends"])[1] == student.bits("ends")


def test_real_text_takes_fewer_bits_once_its_like_was_learnt():
    law = ["The controller shall erase personal data without undue delay."] * 2
    text = "The processor shall erase personal data."
    bits = [ByteStudent.train(learnt).bits(text) / len(text) for learnt in ([], ["zzzz"], law)]
    assert bits[0] == 8 < bits[1]  # what knows only a z expects another one
    assert bits[2] < 4


def test_windows_hold_the_byte_and_the_five_before_it():
    packed, lengths = windows(["ab", "", "abcdefg"])
    assert lengths.tolist() == [2, 0, 7]
    assert [int(value).to_bytes(6) for value in packed[:2]] == [b"\0\0\0\0\0a", b"\0\0\0\0ab"]
    assert int(packed[-1]).to_bytes(6) == b"bcdefg"


def test_a_pool_refuses_a_choice_of_other_texts():
    with pytest.raises(ValueError, match="2 texts"):
        StudentPool(["a", "b"], ["c"]).bits(np.ones((1, 3)))

"""Which groups of texts help a small student on real text.

Students learn random halves of the groups, and a ridge regression separates the groups' effects (Ilyas et al. 2022,
"Datamodels": the same, with examples for groups).

Every student learns the same real core, and random rows of half of the groups, with the same number of bytes of each
group: so neither the size of a group nor that of a student is taken for worth. That number is at most half of what the
smallest group has. Then students differ in their rows as fresh samples of the group would (half-samples, see
`interval`), and the intervals hold for the group, not only for the rows that were drawn.

Halves of the groups come in pairs: a half, and the other half. So do halves of a group's rows: a student learns the
rows that the last student to learn this group left. What is special about one half then cancels out.

The effect of a group is relative to the average group: what is saved where it takes an average group's place. The sum
of all effects is 0; the regression's penalty, chosen by generalised cross-validation (Golub, Heath and Wahba 1979),
draws effects towards it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from stages.evolve.student_pool import StudentPool
from stages.storage.utf8 import utf8_size

REPLICATES = 400  # of each bootstrap
MIN_STUDENTS_PER_GROUP = 2
_PENALTIES = np.logspace(-4, 4, 33)  # in students


@dataclass(frozen=True, slots=True)
class Effects:
    """Bits per byte saved by each group, with 95 % intervals: float64 [groups]. `mean`: of all students."""

    values: np.ndarray
    low: np.ndarray
    high: np.ndarray
    mean: float


def group_effects(
    groups: Sequence[Sequence[str]],
    core: Sequence[str],
    held_out: Sequence[Sequence[str]],
    *,
    bytes_each: int,
    students: int,
    seed: int = 0,
) -> Effects:
    """Trains the students and estimates the effects.

    Args:
        groups: the texts of each group, two groups at least.
        core: real texts that every student learns.
        held_out: the texts of each held-out document; two documents at least.
        bytes_each: of a group's texts that a student learns.
        students: how many, at least MIN_STUDENTS_PER_GROUP for each group; an even number is used.
        seed: of halves, rows and bootstrap.
    """
    random = np.random.default_rng(seed)
    members = random_halves(len(groups), students, random)
    texts = ["\n\n".join(core), *(text for group in groups for text in group)]
    sizes = np.array([utf8_size(text) for text in texts])
    chosen = np.zeros((len(members), len(texts)), np.int32)
    chosen[:, 0] = 1
    bounds = np.cumsum([1, *map(len, groups)])
    left: dict[int, np.ndarray] = {}  # rows of each group that the last student that learnt it did not draw
    for student, choice in enumerate(members):
        for group in np.flatnonzero(choice):
            rest = left.pop(group, None)
            rows = np.arange(bounds[group], bounds[group + 1]) if rest is None else rest
            drawn = draw_rows(rows, sizes[rows], bytes_each, random)
            chosen[student, drawn] = 1
            if rest is None:
                left[group] = np.setdiff1d(rows, drawn)
    flat = [text for document in held_out for text in document]
    document = np.repeat(np.arange(len(held_out)), [len(texts) for texts in held_out])
    bits = StudentPool(texts, flat).bits(chosen)
    bits = np.stack([np.bincount(document, row, len(held_out)) for row in bits])
    lengths = np.bincount(document, [utf8_size(text) for text in flat], len(held_out))
    return effects_of(members, bits, lengths, random)


def random_halves(groups: int, students: int, random: np.random.Generator) -> np.ndarray:
    """Which groups each student learns: bool [students, groups], in pairs of a random half and the other half."""
    pairs = []
    for _ in range(-(-students // 2)):
        half = np.zeros(groups, bool)
        half[random.permutation(groups)[: groups // 2]] = True
        pairs += [half, ~half]
    return np.array(pairs)


def draw_rows(rows: np.ndarray, sizes: np.ndarray, budget: int, random: np.random.Generator) -> np.ndarray:
    """Random rows of about `budget` bytes; `sizes`: of each row. The last one is taken if that is nearer to it."""
    order = random.permutation(len(rows))
    spent = np.cumsum(sizes[order])
    count = int(np.searchsorted(spent, budget))
    before = spent[count - 1] if count else 0
    if count < len(order) and spent[count] - budget < budget - before:
        count += 1
    return rows[order[:count]]


def effects_of(members: np.ndarray, bits: np.ndarray, lengths: np.ndarray, random: np.random.Generator) -> Effects:
    """The regression on what the students need.

    Args:
        members: bool [students, groups], in pairs as `random_halves` makes them.
        bits: [students, documents].
        lengths: bytes of the documents [documents].
        random: of the bootstrap.
    """
    from scipy.stats import t

    students, groups = members.shape
    pairs, documents = students // 2, len(lengths)
    per_byte = bits.sum(1) / lengths.sum()
    moments = _moments(members, per_byte[:, None], np.ones(students))
    penalty = _penalty(moments, students)
    values = _ridge(moments, groups, penalty)[:, 0]
    of_students = np.empty((REPLICATES, groups))
    for replicate in range(REPLICATES):
        weights = np.repeat(random.multinomial(pairs, np.full(pairs, 1 / pairs)), 2).astype(float)
        of_students[replicate] = _ridge(_moments(members, per_byte[:, None], weights), groups, penalty)[:, 0]
    taken = random.multinomial(documents, np.full(documents, 1 / documents), REPLICATES)
    resampled = bits @ taken.T / (taken @ lengths)
    of_documents = _ridge(_moments(members, resampled, np.ones(students)), groups, penalty)
    freedom = max(students - groups - 1, 1)  # what the estimates leave of the students' spread
    variance = of_students.var(0) * students / freedom + of_documents.var(1) * documents / (documents - 1)
    width = t.isf(0.025, freedom) * variance**0.5
    return Effects(-values, -values - width, -values + width, float(per_byte.mean()))


def _moments(members: np.ndarray, per_byte: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Weighted sums of products of memberships and of bits per byte [students, outcomes]: [groups + outcomes] squared.

    Without the means, and without what the number of a student's groups explains.
    """
    count = members.sum(1, keepdims=True)
    table = np.concatenate([count, members - count / members.shape[1], per_byte], axis=1)
    table = table - weights @ table / weights.sum()
    products = (table * weights[:, None]).T @ table
    size, rest = products[0], products[1:, 1:]
    return rest - np.outer(size[1:], size[1:]) / size[0] if size[0] > 1e-9 else rest


def _ridge(moments: np.ndarray, groups: int, penalty: float) -> np.ndarray:
    """The effects on the bits: [groups, outcomes]. `moments`: as `_moments`, with the groups first."""
    return np.linalg.solve(moments[:groups, :groups] + penalty * np.eye(groups), moments[:groups, groups:])


def _penalty(moments: np.ndarray, students: int) -> float:
    """The penalty with the least generalised cross-validation error, of one outcome."""
    values, vectors = np.linalg.eigh(moments[:-1, :-1])
    values = np.maximum(values, 0)
    projected = vectors.T @ moments[:-1, -1]  # s u'y by singular direction, where s^2 is the eigenvalue
    errors = []
    for penalty in _PENALTIES:
        kept = values / (values + penalty)
        rest = moments[-1, -1] - np.sum(projected**2 * (values + 2 * penalty) / (values + penalty) ** 2)
        errors.append(max(rest, 0.0) / max(students - 1 - kept.sum(), 1e-9) ** 2)
    return float(_PENALTIES[int(np.argmin(errors))])

"""Regular expressions as graphs that are walked one character at a time.

A graph accepts at least what its expression matches, and often a little more: look-behinds of several characters count
as true, a look-ahead of several characters is only followed to know how long the match depends on it, a back-reference
is the expression it refers to. So a place at which the graph sees no match has none; what it does see is checked with
the expression itself.

The expressions are read by the parser of Python's own `re`, which is private to CPython (3.11 and later).
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

from configs.errors import ConfigError

try:
    from re import _compiler as compiler  # pyright: ignore[reportAttributeAccessIssue]
    from re import _constants as codes  # pyright: ignore[reportAttributeAccessIssue]
    from re import _parser as parser  # pyright: ignore[reportAttributeAccessIssue]
except ImportError:
    raise ConfigError(
        "serve: it reads patterns with a part of CPython's `re` that is missing here; use CPython"
    ) from None

CharTest = Callable[[str], bool]

_ONE_CHARACTER = {codes.LITERAL, codes.NOT_LITERAL, codes.IN, codes.ANY}
_CHAR_FLAGS = int(re.IGNORECASE | re.ASCII | re.DOTALL | re.UNICODE)
_REPEATS = {codes.MAX_REPEAT, codes.MIN_REPEAT, codes.POSSESSIVE_REPEAT}


@dataclass(frozen=True)
class Shape:
    """How one kind of finding is written.

    Attributes:
        pattern: a regular expression.
        flags: of `re`.
        groups: names or numbers of the groups that are the finding, of which each match has one; empty: all of it.
        after: an expression for what may follow the match and decides whether it counts.
    """

    pattern: str
    flags: int = 0
    groups: tuple[str | int, ...] = ()
    after: str = ""


class Kind(IntEnum):
    """What a node asks for before the walk goes on to `then`."""

    CHARACTER = 0  # consumes a character that passes `test`
    FORK = 1  # nothing
    PREVIOUS = 2  # the character before passes `test`; the start of the text does too
    NEXT = 3  # the next character passes `test`; the end of the text does too
    BOUNDARY = 4  # the border of a word, or none: `then` has the node for a word before, and the one for none
    START = 5  # the finding begins here
    ACCEPT = 6  # the match is complete


@dataclass(slots=True)
class Node:
    """One place of a graph."""

    kind: Kind
    then: tuple[int, ...] = ()
    test: CharTest = field(default=lambda char: True)


class Graph:
    """The graphs of several expressions in one: nodes by number, and those where a match begins."""

    def __init__(self, shapes: Iterable[Shape]) -> None:
        self.nodes: list[Node] = [Node(Kind.ACCEPT)]
        self.dead_end = self._add(Node(Kind.FORK))
        self.following: dict[tuple[str, int], int] = {}  # what `Shape.after` became, by expression and flags
        self.tests: dict[tuple[Any, str, int], CharTest] = {}  # by part of an expression and flags; others negate one
        self.starts = tuple(_Builder(self, shape).start for shape in shapes)

    def _add(self, node: Node) -> int:
        self.nodes.append(node)
        return len(self.nodes) - 1


class _Builder:
    """Adds the graph of one expression, from its end to its beginning: each part is given the node that follows it."""

    def __init__(self, graph: Graph, shape: Shape) -> None:
        self._graph, self._pattern = graph, shape.pattern
        tree = parser.parse(shape.pattern, shape.flags)
        self._groups: dict[int, tuple[Any, int]] = {}
        names = tree.state.groupdict
        self._of_finding = {names[group] if isinstance(group, str) else group for group in shape.groups}
        self._flags = tree.state.flags
        self._remember_groups(tree, self._flags)
        end = 0  # ACCEPT
        if shape.after:
            end = self._fork(0, self._following(shape))
        if not self._of_finding:
            self.start = self._new(Kind.START, (self._sequence(tree, end, self._flags),))
        else:
            self.start = self._sequence(tree, end, self._flags)

    def _following(self, shape: Shape) -> int:
        key = shape.after, shape.flags
        if key not in self._graph.following:
            tree = parser.parse(*key)
            self._graph.following[key] = self._sequence(tree, self._graph.dead_end, tree.state.flags)
        return self._graph.following[key]

    def _char_test(self, code: Any, value: Any, flags: int) -> CharTest:
        key = code, repr(value), int(flags) & _CHAR_FLAGS
        if key not in self._graph.tests:
            self._graph.tests[key] = _char_test(code, value, key[2])
        return self._graph.tests[key]

    def _new(self, kind: Kind, then: tuple[int, ...], test: CharTest | None = None) -> int:
        return self._graph._add(Node(kind, then, test) if test else Node(kind, then))

    def _fork(self, *then: int) -> int:
        return self._new(Kind.FORK, then)

    def _remember_groups(self, items: Any, flags: int) -> None:
        for code, value in items:
            if code is codes.SUBPATTERN:
                group, added, removed, inner = value
                self._groups[group] = (inner, (flags | added) & ~removed)
                self._remember_groups(inner, (flags | added) & ~removed)
            elif code is codes.BRANCH:
                for branch in value[1]:
                    self._remember_groups(branch, flags)
            elif code in _REPEATS:
                self._remember_groups(value[2], flags)
            elif code is codes.ATOMIC_GROUP:
                self._remember_groups(value, flags)

    def _has_start(self, items: Any) -> bool:
        for code, value in items:
            if code is codes.SUBPATTERN:
                if value[0] in self._of_finding or self._has_start(value[3]):
                    return True
            elif code is codes.BRANCH:
                if any(map(self._has_start, value[1])):
                    return True
            elif code in _REPEATS and self._has_start(value[2]):
                return True
        return False

    def _sequence(self, items: Any, end: int, flags: int) -> int:
        items = list(items)
        starts = [place for place, item in enumerate(items) if self._has_start([item])]
        for place in reversed(range(len(items))):
            # before the finding, how often something is repeated does not matter: nothing is held back for it
            code, value = items[place]
            end = self._part(code, value, end, flags, is_before=bool(starts) and place < starts[0])
        return end

    def _part(self, code: Any, value: Any, end: int, flags: int, is_before: bool = False) -> int:
        if code in _ONE_CHARACTER:
            return self._new(Kind.CHARACTER, (end,), self._char_test(code, value, flags))
        if code is codes.SUBPATTERN:
            group, added, removed, inner = value
            entry = self._sequence(inner, end, (flags | added) & ~removed)
            return self._new(Kind.START, (entry,)) if group in self._of_finding else entry
        if code is codes.BRANCH:
            return self._fork(*(self._sequence(branch, end, flags) for branch in value[1]))
        if code in _REPEATS:
            least, most, inner = value
            return self._repeat(least, most, inner, end, flags, is_before)
        if code is codes.ATOMIC_GROUP:
            return self._sequence(value, end, flags)
        if code is codes.GROUPREF:
            inner, flags = self._groups[value]
            return self._sequence(inner, end, flags)
        if code is codes.GROUPREF_EXISTS:
            _, yes, no = value
            return self._fork(self._sequence(yes, end, flags), self._sequence(no or [], end, flags))
        if code in (codes.ASSERT, codes.ASSERT_NOT):
            direction, inner = value
            return self._look(code is codes.ASSERT, direction > 0, inner, end, flags)
        if code is codes.AT and value in (codes.AT_BOUNDARY, codes.AT_NON_BOUNDARY):
            is_word = self._char_test(codes.IN, [(codes.CATEGORY, codes.CATEGORY_WORD)], flags)
            inside = self._new(Kind.NEXT, (end,), is_word)
            outside = self._new(Kind.NEXT, (end,), _not(is_word))
            then = (outside, inside) if value is codes.AT_BOUNDARY else (inside, outside)
            return self._new(Kind.BOUNDARY, then, is_word)
        if code is codes.AT:
            return self._edge(value, end, bool(flags & re.MULTILINE))
        if code is codes.FAILURE:
            return end
        raise ConfigError(f"{self._pattern!r} has {code}, which a stream cannot be searched for; write it without")

    def _repeat(self, least: int, most: Any, inner: Any, end: int, flags: int, is_before: bool) -> int:
        if is_before and most is not codes.MAXREPEAT and most > 1:
            least, most = min(least, 1), codes.MAXREPEAT
        if most is codes.MAXREPEAT:
            loop = self._fork()
            self._graph.nodes[loop].then = (self._sequence(inner, loop, flags), end)
            end = loop
        else:
            for _ in range(most - least):
                end = self._fork(self._sequence(inner, end, flags), end)
        for _ in range(least):
            end = self._sequence(inner, end, flags)
        return end

    def _edge(self, where: Any, end: int, is_of_line: bool) -> int:
        """The start or the end of a line or of the text."""
        at_newline = is_of_line and where in (codes.AT_BEGINNING, codes.AT_END)
        is_newline = self._char_test(codes.LITERAL, ord("\n"), 0)
        test = is_newline if at_newline else _no_character
        if where in (codes.AT_BEGINNING, codes.AT_BEGINNING_STRING):
            return self._new(Kind.PREVIOUS, (end,), test)
        node = self._new(Kind.NEXT, (end,), test)
        if where is codes.AT_END and not is_of_line:  # there may be one newline more
            last = self._new(Kind.NEXT, (self._graph.dead_end,), _no_character)
            return self._fork(node, self._new(Kind.CHARACTER, (last,), is_newline))
        return node

    def _look(self, is_wanted: bool, is_ahead: bool, items: Any, end: int, flags: int) -> int:
        code, value = items[0] if len(items) == 1 else (None, None)
        if code in _ONE_CHARACTER:
            test = self._char_test(code, value, flags)
            return self._new(Kind.NEXT if is_ahead else Kind.PREVIOUS, (end,), test if is_wanted else _not(test))
        if is_ahead:
            return self._fork(end, self._sequence(items, self._graph.dead_end, flags))
        return end


def _no_character(char: str) -> bool:
    return False


def _not(test: CharTest) -> CharTest:
    return lambda char: not test(char)


def _char_test(code: Any, value: Any, flags: int) -> CharTest:
    state = parser.State()
    state.flags = flags
    expression = compiler.compile(parser.SubPattern(state, [(code, value)]), flags)
    return lambda char: expression.match(char) is not None

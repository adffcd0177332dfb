"""Walks a graph of patterns: at which characters of a text could a match have begun that is not complete yet?

The states are built while texts are read and kept for later texts, so that a character costs one look-up for the text
and one for each match that may have begun, as in RE2. One automaton serves all texts of a server.
"""

from collections.abc import Iterable

from model.serve.sandbox.pattern_tree import Graph, Kind, Node, Shape

_MAX_MOVES = 200_000  # that are kept, some 30 MB
_MAX_CHARS = 50_000  # whose classes are kept


class State:
    """The places that a match which began at a certain character may have reached.

    Attributes:
        accepts: the characters so far are a match, or the last one ended a match before it.
        may_end: a match ends here, whatever the next character is, or if it is a certain one.
        moves: the state after a character, None if no match can go on.
    """

    __slots__ = ("accepts", "core", "may_end", "moves")

    def __init__(self, core: frozenset[int], accepts: bool, may_end: bool = False) -> None:
        self.core, self.accepts, self.may_end = core, accepts, may_end
        self.moves: dict[str, State | None] = {}


class Search:
    """What has been read of the expressions before their findings, and where findings may begin.

    Attributes:
        moves: after a character, the next state of the search, and that of a finding which begins with the character.
        after_mask: what `Automaton.after_mask` returned.
    """

    __slots__ = ("after_mask", "core", "moves", "ready")

    def __init__(self, core: frozenset[int], ready: frozenset[int]) -> None:
        self.core, self.ready = core, ready
        self.moves: dict[str, tuple[Search, State | None]] = {}
        self.after_mask: Search | None = None


class Automaton:
    """The patterns of a scanner as one automaton.

    Attributes:
        start: the state at the start of a text.
        classes: a character -> the one that stands for all that no pattern tells apart. The moves of a state are by
            these. `classify` adds one that is missing.
    """

    def __init__(self, shapes: Iterable[Shape]) -> None:
        graph = Graph(shapes)
        self._nodes: list[Node] = graph.nodes
        self._starts = graph.starts
        self._tests = tuple(graph.tests.values())
        self._representatives: dict[bytes, str] = {}
        self.classes: dict[str, str] = {}
        self._states: dict[tuple[frozenset[int], bool], State] = {}
        self._searches: dict[tuple[frozenset[int], frozenset[int]], Search] = {}
        self._beginnings: dict[tuple[str, ...], tuple[str, ...]] = {}
        self._count = 0  # moves that are kept
        self.start = self._search(self._starts, None)

    def classify(self, char: str) -> str:
        """The character that stands for the class of this one."""
        if len(self.classes) >= _MAX_CHARS:
            self.classes.clear()
        results = bytes(test(char) for test in self._tests)
        return self.classes.setdefault(char, self._representatives.setdefault(results, char))

    def beginnings(self, chars: tuple[str, ...]) -> tuple[str, ...]:
        """Those of some characters with which a finding could begin, whatever is before them."""
        if chars not in self._beginnings:
            self._beginnings[chars] = tuple(char for char in chars if self._begins(char))
        return self._beginnings[chars]

    def _begins(self, char: str) -> bool:
        _, ready, _ = self._reach(self._starts, None, is_known=False, is_inside=False)
        return self.step(State(frozenset(ready), False), char) is not None

    def search(self, search: Search, char: str) -> tuple[Search, State | None]:
        """The move of a search over a character."""
        core, ready = self._over(search.core, search.ready, char)
        targets = [then for place in core if self._passes(place, char) for then in self._nodes[place].then]
        self._keep_few()
        move = search.moves[char] = (
            self._search([*self._starts, *targets], char),
            self.step(State(frozenset(ready), False), char),
        )
        return move

    def step(self, state: State, char: str) -> State | None:
        """The state after a character; None if no match can go on, and none ended just before the character."""
        stack, seen = list(state.core), set(state.core)
        targets: list[int] = []
        accepts = False
        while stack:
            place = stack.pop()
            if not self._passes(place, char):
                continue
            node = self._nodes[place]
            if node.kind is Kind.CHARACTER:
                targets += node.then
                continue
            core, _, is_end = self._reach(node.then, char, is_known=False, is_inside=True)
            accepts |= is_end
            stack += core - seen
            seen |= core
        core, _, is_end = self._reach(targets, char, is_known=True, is_inside=True)
        accepts |= is_end
        self._keep_few()
        after = self._state(core, accepts) if core or accepts else None
        state.moves[char] = after
        return after

    def _over(self, places: frozenset[int], ready: frozenset[int], char: str) -> tuple[set[int], set[int]]:
        """Places of a search that ask for characters, beyond those that ask for the next one; where findings begin."""
        stack, core, begins = list(places), set(places), set(ready)
        while stack:
            place = stack.pop()
            if self._nodes[place].kind is Kind.NEXT and self._passes(place, char):
                reached, starts, _ = self._reach(self._nodes[place].then, char, is_known=False, is_inside=False)
                begins |= starts
                stack += reached - core
                core |= reached
        return {place for place in core if self._nodes[place].kind is Kind.CHARACTER}, begins

    def _passes(self, place: int, char: str) -> bool:
        return self._nodes[place].test(char)

    def _reach(
        self, places: Iterable[int], previous: str | None, *, is_known: bool, is_inside: bool
    ) -> tuple[set[int], set[int], bool]:
        """Places that can be reached without a character.

        Args:
            previous: the character before; None at the start of the text.
            is_known: False if `previous` is not it: what asks for it passes then.
            is_inside: the finding has begun; else the walk ends where it begins.

        Returns the places that ask for a character, those where a finding begins, and whether a match is complete.
        """
        stack, seen = list(places), set(places)
        core: set[int] = set()
        begins: set[int] = set()
        accepts = False
        while stack:
            place = stack.pop()
            node = self._nodes[place]
            then: Iterable[int] = node.then
            if node.kind in (Kind.CHARACTER, Kind.NEXT):
                core.add(place)
                continue
            if node.kind is Kind.ACCEPT:
                accepts = True
            elif node.kind is Kind.START and not is_inside:
                begins |= self._reach(node.then, previous, is_known=is_known, is_inside=True)[0]
                continue
            elif node.kind is Kind.PREVIOUS and is_known and previous is not None and not node.test(previous):
                continue
            elif node.kind is Kind.BOUNDARY and is_known:
                then = node.then[:1] if previous is not None and node.test(previous) else node.then[1:]
            stack += [one for one in then if one not in seen]
            seen.update(then)
        return core, begins, accepts

    def after_mask(self, search: Search, end: str) -> Search:
        """The search where a match ends here, which may be replaced by something that ends in the character `end`."""
        if search.after_mask is None:
            core, ready, _ = self._reach(self._starts, end, is_known=True, is_inside=False)
            key = search.core | core, search.ready | ready
            search.after_mask = self._searches.setdefault(key, Search(*key))
        return search.after_mask

    def _may_end(self, core: set[int]) -> bool:
        """Whether a match is complete at these places but for what it asks of the next character."""
        stack, seen = list(core), set(core)
        while stack:
            node = self._nodes[stack.pop()]
            if node.kind is Kind.NEXT:
                reached, _, is_end = self._reach(node.then, None, is_known=False, is_inside=True)
                if is_end:
                    return True
                stack += reached - seen
                seen |= reached
        return False

    def _search(self, places: Iterable[int], previous: str | None) -> Search:
        core, ready, _ = self._reach(places, previous, is_known=True, is_inside=False)
        key = (frozenset(core), frozenset(ready))
        return self._searches.setdefault(key, Search(*key))

    def _state(self, core: set[int], accepts: bool) -> State:
        key = (frozenset(core), accepts)
        if key not in self._states:
            self._states[key] = State(*key, accepts or self._may_end(core))
        return self._states[key]

    def _keep_few(self) -> None:
        self._count += 1
        if self._count > _MAX_MOVES:
            for kept in (*self._states.values(), *self._searches.values()):
                kept.moves.clear()
            self._states.clear()
            self._searches.clear()
            self._count = 0

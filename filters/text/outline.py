"""How findings are written, for readers of texts that are not complete yet (`gristmill serve`)."""

import re
from dataclasses import dataclass

from filters.text.prefilter import PrefilteredPattern


@dataclass(frozen=True)
class Outline:
    """An expression that covers all findings of one kind, and more that its finder rules out.

    Attributes:
        expression: what a finding looks like, with a label before it if it needs one.
        groups: names or numbers of the groups that are the finding; empty: the whole match.
        after: an expression for what after a match its finder looks at, beyond the expression's own look-aheads.
    """

    expression: re.Pattern[str] | PrefilteredPattern
    groups: tuple[str | int, ...] = ()
    after: str = ""

    @property
    def pattern(self) -> re.Pattern[str]:
        """The compiled expression."""
        return self.expression.pattern if isinstance(self.expression, PrefilteredPattern) else self.expression

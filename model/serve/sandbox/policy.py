"""Which scanners read the prompts and answers of a server, and which policy a request is under."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from model.serve.sandbox.finding import Release
from model.serve.sandbox.guard import ERROR, Guard
from model.serve.sandbox.scanner import Scanner

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class GuardPolicy:
    """The scanners of an answer, and what is done about prompts with findings. Without scanners all leaves at once."""

    name: str = "none"
    scanners: tuple[Scanner, ...] = ()
    prompts: Literal["block", "pass"] = "pass"

    def guard(self) -> Guard:
        """A guard for one choice of an answer."""
        return Guard(self.scanners)

    def filter(self, text: str) -> Release:
        """What leaves of a whole text."""
        guard = self.guard()
        first, rest = guard.feed(text), guard.finish()
        return Release(first.text + rest.text, rest.source_end, first.masked + rest.masked, rest.blocked)

    def check_prompt(self, text: str) -> str | None:
        """The class that forbids a prompt, `error` if a scanner failed, or None. A prompt is never masked."""
        if self.prompts == "pass":
            return None
        try:
            findings = [finding for scanner in self.scanners for finding in scanner.scan(text)]
        except Exception as error:
            _LOG.error("A scanner failed with %s; the prompt is blocked", type(error).__name__)
            return ERROR
        return min(findings, key=lambda finding: finding.start).kind if findings else None


@dataclass(frozen=True)
class PolicySet:
    """The policies of a server: one for all, and others by name for certain keys and models."""

    default: GuardPolicy = field(default_factory=GuardPolicy)
    named: Mapping[str, GuardPolicy] = field(default_factory=dict)
    by_model: Mapping[str, str] = field(default_factory=dict)  # model, or adapter without its hash -> name

    def select(self, model: str = "", policy: str | None = None) -> GuardPolicy:
        """The policy of a request: the one that its key names, or else its model's, or else the default.

        Args:
            model: public id, such as `law` or `law@0123456789ab`.
            policy: `Client.policy`.

        Raises KeyError if the key names a policy that does not exist (`missing` finds those at the start).
        """
        name = policy or self.by_model.get(model) or self.by_model.get(model.partition("@")[0])
        return self.named[name] if name else self.default

    def missing(self, names: set[str]) -> list[str]:
        """Those of `names` that no policy has, sorted."""
        return sorted(names - set(self.named))

"""Builds the sandbox of `gristmill serve` from a policy file: the filters of `screen.filters`, as scanners of streams.

`privacy` masks; with `action: drop`, or for the kinds under `drop`, it blocks. `secrets` and `safety` block. The
language of a stream is not known: the labels and numbering plans of all languages count.
"""

from collections.abc import Callable, Iterable
from typing import Any

from configs.errors import ConfigError
from configs.load import load_serving_policy
from configs.schema.serving import PolicyRules
from filters.build import check_options
from filters.privacy import Privacy, mask_spans
from filters.safety import Safety, folded
from filters.secrets import OUTLINES as SECRETS
from filters.secrets import Secrets
from filters.text.outline import Outline
from filters.text.personal import ASCII_FORMS
from filters.text.personal import OUTLINES as PERSONAL
from filters.text.phone import ANY_LANGUAGE
from model.serve.sandbox import Finding, GuardPolicy, PolicySet
from model.serve.sandbox.folding import folded_with_places
from model.serve.sandbox.pattern_scanner import PatternScanner
from model.serve.sandbox.pattern_tree import Shape


def load_policies(path: str) -> PolicySet:
    """The policies of a policy file, or of the shipped one if `path` is empty. Raises ConfigError naming the key."""
    policy = load_serving_policy(path)
    named = {name: _built(name, rules, f"policies.{name}.") for name, rules in policy.policies.items()}
    return PolicySet(_built("default", policy, ""), named, policy.models)


def _built(name: str, rules: PolicyRules, where: str) -> GuardPolicy:
    scanners = []
    for index, spec in enumerate(rules.filters):
        key = f"{where}filters[{index}]"
        options = check_options(spec, key)
        try:
            scanners.append(_BUILDERS[spec.name](options, rules.domain))
        except ConfigError as error:
            raise ConfigError(f"{key}.{error}") from None
    return GuardPolicy(name, tuple(scanners), rules.prompts)


def _privacy(options: dict[str, Any], domain: str) -> PatternScanner:
    judge = Privacy(**options)
    kinds = frozenset(judge.kinds)
    blocked = kinds if judge.action == "drop" else frozenset(judge.drop)

    def find(text: str) -> list[Finding]:
        spans = mask_spans(text, ANY_LANGUAGE, kinds)
        return [Finding(start, end, kind, "block" if kind in blocked else "mask") for start, end, kind in spans]

    return PatternScanner("privacy", find, _shapes(PERSONAL), context=192, mask_end="]", table=ASCII_FORMS)


def _secrets(options: dict[str, Any], domain: str) -> PatternScanner:
    judge = Secrets(**options)

    def find(text: str) -> list[Finding]:
        return [Finding(start, end, kind, "block") for start, end, kind in sorted(judge.find(text))]

    return PatternScanner("secrets", find, _shapes(SECRETS), context=192)


def _safety(options: dict[str, Any], domain: str) -> PatternScanner:
    judge = Safety(**options)

    def find(text: str) -> list[Finding]:
        plain, starts, ends = folded_with_places(text, folded)
        spans = [(starts[start], ends[end - 1], name) for start, end, name in judge.find(plain, domain)]
        return [Finding(start, end, name, "block") for start, end, name in sorted(spans)]

    return PatternScanner("safety", find, _shapes(judge.outlines(domain)), context=320, fold=folded)


def _shapes(outlines: Iterable[Outline]) -> list[Shape]:
    return [Shape(one.pattern.pattern, one.pattern.flags, one.groups, one.after) for one in outlines]


_BUILDERS: dict[str, Callable[[dict[str, Any], str], PatternScanner]] = {
    "privacy": _privacy,
    "secrets": _secrets,
    "safety": _safety,
}

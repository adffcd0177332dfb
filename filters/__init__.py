"""Filters: each keeps a generated row, or drops it with one reason.

`FILTERS` names the filters of this package. A filter is a frozen dataclass in a file of its own, called with a batch of
candidates; it returns one `Verdict` for each, in order, and always the same for the same batch. Its fields are its
options in `screen.filters`. What else it may declare:

- a field `encoder`: the filter reads embeddings and is given the screen's encoder;
- a field `verifier`: the filter is given the cross-encoder that its option `model` names;
- `data(options, encoder_name)`, a static method: what it reads beside its options, such as weights or a policy file.
  It is part of the run's fingerprint;
- `redact(text, language)`: the text with everything that this filter masks replaced, for texts that never reach the
  filters (`filters.build.redact`). It must work without an encoder;
- `judges`: the values of `Candidate.writes` (answer, extract, question, distractor, nothing) that it makes sense for;
  all without it;
- `limits(domain, language)` and `pull(candidate)`: learnt limits, and what each sentence adds to the score, for
  `gristmill filter explain`.

To add a filter: write its file, add a line here, a row to the table in `tests/filters/test_filters.py`, and a file of
texts that it must keep and must drop in `tests/filters/cases/`.

Read `length` first, as an example, then `build` (names to filters), then any filter. `text` is how text is read,
`heads` what is learnt. Filters of a user's own need no line here: they are named by `package.module:Class`.
"""

# the name in `screen.filters` -> module:class, imported when a config names it
FILTERS = {
    "length": "filters.length:Length",
    "secrets": "filters.secrets:Secrets",
    "privacy": "filters.privacy:Privacy",
    "safety": "filters.safety:Safety",
    "truncation": "filters.truncation:Truncation",
    "refusal": "filters.refusal:Refusal",
    "language": "filters.language:Language",
    "repetition": "filters.repetition:Repetition",
    "rules": "filters.rules:Rules",
    "prompt_echo": "filters.prompt_echo:PromptEcho",
    "support": "filters.grounding.support:Support",
    "domain": "filters.domain:Domain",
    "citations": "filters.grounding.citations:Citations",
    "doses": "filters.grounding.doses:Doses",
    "gain": "filters.grounding.gain:Gain",
    "contrast": "filters.grounding.contrast:Contrast",
    "contamination": "filters.contamination:Contamination",
    "quality": "filters.quality:Quality",
    "grounded": "filters.grounding.grounded:Grounded",
}

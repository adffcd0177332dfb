"""Drops answers that contain credentials: private keys, tokens of services, passwords, random strings called a key."""

import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Annotated

from pydantic import Field

from filters.text.outline import Outline
from filters.text.prefilter import PrefilteredPattern
from stages.ports import KEEP, Verdict
from stages.record import Candidate

# The services' own prefixes and lengths. What matches is taken for a secret, whatever is around it.
_TOKENS = {
    "private_key": r"-----BEGIN (?:[A-Z0-9]{1,12} ){0,3}PRIVATE KEY(?: BLOCK)?-----",
    "aws_key": r"\b(?:AKIA|ASIA|ABIA|ACCA)[A-Z2-7]{16}\b",
    "google_key": r"\bAIza[0-9A-Za-z_\-]{35}(?![0-9A-Za-z_\-])|\bya29\.[0-9A-Za-z_\-]{20,}|\bGOCSPX-[0-9A-Za-z_\-]{28}",
    "github_token": r"\bgh[oprsu]_[0-9A-Za-z]{36,255}\b|\bgithub_pat_[0-9A-Za-z_]{50,255}\b",
    "gitlab_token": r"\bgl(?:pat|ptt|rt|dt)-[0-9A-Za-z_\-]{20,}",
    "slack_token": r"\bxox[abeoprs]-[0-9A-Za-z\-]{10,}|https://hooks\.slack\.com/services/T[0-9A-Z]+/B[0-9A-Z]+/[0-9A-Za-z]{20,}",
    "openai_key": r"\bsk-(?:proj-|svcacct-|admin-)[0-9A-Za-z_\-]{20,}|\bsk-[0-9A-Za-z]{32,}\b",
    "anthropic_key": r"\bsk-ant-[0-9A-Za-z_\-]{20,}",
    "stripe_key": r"\b[rs]k_(?:live|test)_[0-9A-Za-z]{16,}|\bwhsec_[0-9A-Za-z]{24,}",
    "huggingface_token": r"\bhf_[0-9A-Za-z]{30,}\b",
    "registry_token": r"\bnpm_[0-9A-Za-z]{36}\b|\bpypi-AgEIcHlwaS5vcmc[0-9A-Za-z_\-]{50,}",
    "mail_key": r"\bSG\.[0-9A-Za-z_\-]{16,32}\.[0-9A-Za-z_\-]{30,}|\bkey-[0-9a-f]{32}\b",
    "azure_key": r"\bAccountKey=[0-9A-Za-z+/]{60,}={0,2}",
    "jwt": r"\beyJ[0-9A-Za-z_\-]{8,}\.eyJ[0-9A-Za-z_\-]{8,}\.[0-9A-Za-z_\-]{8,}",
}
_TOKEN = PrefilteredPattern("|".join(f"(?P<{kind}>{pattern})" for kind, pattern in _TOKENS.items()), re.ASCII)

_URL = PrefilteredPattern(
    r"\b[a-z][a-z0-9+.\-]{1,15}://[^\s:/@\"'<>]{0,64}:([^\s/@\"'<>]{3,128})@[\w.\-]", re.IGNORECASE
)
_JOINT = r"[\"'`]?[ \t]{0,3}(?::=|=>|[:=：]|(?:\bis\b|\bes\b|是|为)[:：]?)[ \t]{0,3}"
_PASSWORD = PrefilteredPattern(
    r"(?:(?<![A-Za-z])(?:[A-Za-z]{1,20}[_\-])?(?:password|passwd|passphrase|pwd|contraseña|clave de acceso)|密码|口令)"
    rf"{_JOINT}(?:[\"'`“「](?P<quoted>[^\s\"'`”」]{{6,128}})[\"'`”」]|(?P<bare>[^\s\"'`,;，。；“”「」]{{6,128}}))",
    re.IGNORECASE,
)
_LABELLED = PrefilteredPattern(
    r"(?:(?<![A-Za-z])(?:[A-Za-z0-9]{1,20}[_\- ]){0,3}"
    r"(?:api[_\- ]?key|apikey|secret|token|auth[_\- ]?key|access[_\- ]?key|private[_\- ]?key|signing[_\- ]?key"
    r"|encryption[_\- ]?key|credentials?|clave (?:de )?(?:api|secreta|privada)|bearer)(?![A-Za-z])|密钥|令牌|秘钥)"
    r"(?:[\"'`]?[ \t]{0,3}(?::=|=>|[:=：]|(?:\bis\b|\bes\b|是|为)[:：]?)?[ \t]{0,3})[\"'`“「]?"
    r"(?P<value>[0-9A-Za-z+/_\-]{16,512}={0,2})(?![0-9A-Za-z+/_\-=])",
    re.IGNORECASE,
)
OUTLINES = (
    Outline(_TOKEN),
    Outline(_URL, groups=(1,)),
    Outline(_PASSWORD, groups=("quoted", "bare")),
    Outline(_LABELLED, groups=("value",)),
)
# What examples have in place of a secret: variables, blanks, words of manuals.
_PLACEHOLDER = re.compile(
    r"^[<{\[(%$*•…]|[<>{}]|^(?:x+|\*+|\.+|-+|#+|_+)$|your|tu_|su_|example|ejemplo|changeme|placeholder|redacted|xxxx|dummy|sample"
    r"|insert|todo\b|getenv|environ|^null$|^none$|^true$|^false$|示例|你的|您的|\bhere\b|^(.)\1+$|1234567890abcdef",
    re.IGNORECASE,
)
_WORDS = frozenset(
    ["password", "passwd", "pass", "pwd", "secret", "contraseña", "clave", "token", "密码", "port", "puerto"]
)


@dataclass(frozen=True)
class Secrets:
    """Reason: secret. The row is always dropped; the detail names the kinds, and the reject has `[SECRET]` instead.

    Kinds: tokens of services by their own prefixes, jwt, private_key, url_password (`scheme://user:password@host`),
    password (an assignment whose value has letters and digits or signs, and is not a placeholder), and key: a string
    with at least `min_entropy` bits per character after a label such as "api key", "token" or 密钥.

    All that is published is searched: `text`, every turn, `rejected`. Hashes, citations and identifiers without such a
    label pass. Not found: passwords in prose without a label, words as passwords, and secrets with spaces in them.
    """

    min_entropy: Annotated[float, Field(ge=0, le=6)] = 3.5

    def __call__(self, batch: Sequence[Candidate]) -> list[Verdict]:
        return [self._judge(candidate) for candidate in batch]

    def _judge(self, row: Candidate) -> Verdict:
        turns = [message["content"] for message in row.messages]
        texts = [*turns, row.rejected or ""] if turns else [row.text, row.rejected or ""]
        kinds = tuple(kind for text in texts for _, _, kind in self.find(text))
        # `text` is published too, and may differ from the turns
        kinds = kinds or tuple(kind for _, _, kind in self.find(row.text))
        if not kinds:
            return KEEP
        return Verdict("secret", None, ", ".join(sorted(set(kinds))), self._redacted(row), kinds)

    def _redacted(self, row: Candidate) -> Candidate:
        messages = [message | {"content": self.redact(message["content"], row.language)} for message in row.messages]
        rejected = None if row.rejected is None else self.redact(row.rejected, row.language)
        text, written = (self.redact(part, row.language) for part in (row.text, row.written))
        return replace(row, text=text, messages=messages, rejected=rejected, written=written)

    def redact(self, text: str, language: str) -> str:
        """The text with each secret replaced by `[SECRET]`."""
        end, parts = 0, []
        for start, stop, kind in sorted(self.find(text)):
            if start >= end:
                parts.append(f"{text[end:start]}[SECRET]")
                # the lines of a key follow its first line
                end = _key_end(text, stop) if kind == "private_key" else stop
            end = max(end, stop)
        return "".join([*parts, text[end:]])

    def find(self, text: str) -> Iterator[tuple[int, int, str]]:
        """Start, end and kind of the secrets of a text. They may overlap."""
        for match in _TOKEN.finditer(text):
            yield *match.span(), match.lastgroup or ""
        for match in _URL.finditer(text):
            if not _PLACEHOLDER.search(match[1]) and match[1].lower() not in _WORDS:
                yield *match.span(1), "url_password"
        for match in _PASSWORD.finditer(text):
            group = "quoted" if match["quoted"] else "bare"
            if _is_password(match[group]):
                yield *match.span(group), "password"
        for match in _LABELLED.finditer(text):
            value = match["value"]
            if not _PLACEHOLDER.search(value) and _mixed(value) and entropy(value) >= self.min_entropy:
                yield *match.span("value"), "key"


def entropy(text: str) -> float:
    """Bits per character, by the frequencies of the characters in the text."""
    return -sum(n / len(text) * math.log2(n / len(text)) for n in Counter(text).values())


def _mixed(value: str) -> bool:
    return any(map(str.isdigit, value)) and any(map(str.isalpha, value))


def _is_password(value: str) -> bool:
    value = value.rstrip(".)!?:")
    if len(value) < 6 or _PLACEHOLDER.search(value) or not value.isascii():
        return False
    letters, digits = any(map(str.isalpha, value)), any(map(str.isdigit, value))
    return (letters and digits) or (letters and bool(re.search(r"[!@#$%^&*?+~|]", value)))


def _key_end(text: str, start: int) -> int:
    end = re.compile(r"-----END [A-Z0-9 ]{0,40}-----").search(text, start)
    return end.end() if end else len(text)

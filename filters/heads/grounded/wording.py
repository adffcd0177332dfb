"""Other words for the same: sentences shortened, reworded and framed, as a generator would write them. English."""

import random
import re

_SYNONYMS = """
shall=must=is to; may=can; notify=inform=tell; without undue delay=promptly; prior to=before; commence=begin=start;
terminate=end; pursuant to=under; in accordance with=under=according to; alleged=claimed=argued; plaintiff=claimant;
dismissed=threw out; filed suit=sued; individuals=people=persons; obtain=get; provide=give=supply; ensure=make sure;
require=demand; purchase=buy; sufficient=enough; approximately=about=around; demonstrated=showed; indicated=showed;
evaluated=assessed=examined; investigated=studied; significant=marked; utilized=used; received=got;
conducted=carried out; participants=subjects; physicians=doctors; medications=drugs=medicines; therapy=treatment;
elevated=raised=high; reduced=lowered; associated with=linked to; characterized by=marked by; characterised
by=marked by; absence=lack; abnormality=anomaly; located=situated; presence=existence; adequate=sufficient;
implement=put in place; establish=set up=create; designate=appoint=name; appointed=named; exercise=use;
functions=tasks=duties; powers=authority; determine=decide; regarding=about=concerning; relating to=concerning;
additional=further=more; assist=help; numerous=many; children=kids; following=after; authorised=allowed=permitted;
authorized=allowed; prohibited=forbidden; children's=kids'; amended=changed; settlement=agreement; attorney=lawyer;
attorneys=lawyers; class action=collective suit; competent=responsible; measures=steps;
appropriate=suitable=fitting; entity=body=organisation; entities=bodies; obligation=duty; obligations=duties; in
writing=in written form; annually=every year; each year=annually; whether=if; occurs=happens; mainly=mostly;
commonly=often; frequently=often; rapid=fast; severe=serious; onset=beginning; aim=goal; large=big; due to=because
of; in order to=to; at least=no less than; more than=over; less than=under; however=but; consists of=is made up of;
comprises=includes; contains=has; states that=says that; concluded=finished
"""
_CHOICES: dict[str, list[str]] = {}
for _line in _SYNONYMS.replace("\n", " ").split(";"):
    _words = [word.strip() for word in _line.split("=")]
    _CHOICES[_words[0]] = _words[1:]
_SYNONYM = re.compile(rf"\b({'|'.join(sorted(map(re.escape, _CHOICES), key=len, reverse=True))})\b")
_FRAMES = (
    "The text states that {}",
    "This text states that {}",
    "The text says that {}",
    "The passage explains that {}",
    "According to the text, {}",
    "It says that {}",
    "In plain words, {}",
    "The text describes how {}",
    "The text also mentions that {}",
    "It means that {}",
    "The document explains that {}",
    "In summary, {}",
)
_LEADING = re.compile(r"^(?:However|Moreover|Furthermore|In addition|Additionally|Therefore|Thus|Finally|Also),\s+")
_BRACKETS = re.compile(r"(?<!\s)\s*+(?:\((?![a-z0-9]{1,3}\))[^()]{3,80}\)|<[^<>]{1,10}>)")
_RELATIVE = re.compile(r",\s+(?:which|who|whose|where|including|such as|as well as)\b[^,.;]{3,120}(?:,|(?=[.;]$))")
_TAIL = re.compile(r",\s+(?:including|such as|as well as|for example|with|in order to|while)\b[^.;]{3,160}(?=[.;]$)")
_LOWERED = re.compile(
    r"(?:The|An?|In|On|Of|For|By|At|This|These|Each|Every|All|Any|No|If|When|Where|After|Before|As|Some|Many|Most|Patients?|"
    r"Plaintiffs?|Defendants?|Member|He|She|It|They|There|Such|To|With|Without|During)\b|[a-z]"
)
_CUT = 0.5  # the chance of each way to shorten
_FRAMED = 0.45  # the share of statements that get a frame


def shortened(sentence: str, rng: random.Random) -> str:
    """A sentence without some of what can go: brackets, relative clauses, lists at its end."""
    text = _LEADING.sub("", sentence.strip())
    for pattern in (_BRACKETS, _RELATIVE, _TAIL):
        if rng.random() < _CUT:
            text = pattern.sub("", text)
    text = re.sub(r"\s+", " ", text).rstrip(" ;,.") + "."
    return text[:1].upper() + text[1:]


def reworded(sentence: str, rng: random.Random, share: float = 0.6) -> str:
    """A sentence in which about `share` of the words that have synonyms are replaced by one."""

    def replace(match: re.Match[str]) -> str:
        return rng.choice(_CHOICES[match[1]]) if rng.random() < share else match[1]

    return _SYNONYM.sub(replace, sentence)


def framed(sentence: str, rng: random.Random) -> str:
    """Some sentences in a frame such as "The text states that …"."""
    if rng.random() >= _FRAMED:
        return sentence
    lowered = sentence[:1].lower() + sentence[1:] if _LOWERED.match(sentence) else sentence
    return rng.choice(_FRAMES).format(lowered)

"""The marks in raw completions: what opens and closes thoughts, and the special tokens of chat templates."""

import re

# `<think>`, `<thinking>`, `<seed:think>`, `<think_fast>`, `◁think▷`, `<|think|>`, and with a slash the closing ones
_NAME = (
    r"(?:(?!(?:begin|start|end)_)[a-z0-9]{1,20}[:_])?(?:think|(?:ant)?thinking|thoughts?|reasoning|reflection|scratchpad"
    r"|monologue|cot|chain_of_thought|思考|推理|pensamientos?|razonamiento)(?:_(?!(?:begin|start|end)\b)\w{1,20})?"
)
_LEFT, _RIGHT = r"(?:[<◁＜]|&lt;)[|｜]? ?", r" {0,20}[|｜]?(?:[>▷＞]|&gt;)"
_BLOCK = r"(?:think(?:ing)?|thought|reasoning)"
_OPEN = (
    rf"{_LEFT}{_NAME}(?:\s[^<>\n]{{0,200}}?)?{_RIGHT}|<\|(?:begin|start)_(?:of_)?{_BLOCK}\|>"
    rf"|<\|{_BLOCK}_(?:begin|start)\|>|(?-i:\[(?:THINK(?:ING)?|REASONING)\])|<unused94>(?:thought)?|<\|channel>\w*"
)
_CLOSE = (
    rf"{_LEFT}\\?/ ?{_NAME}{_RIGHT}|<\|end_(?:of_)?{_BLOCK}\|>|<\|{_BLOCK}_end\|>"
    r"|(?-i:\[/(?:THINK(?:ING)?|REASONING)\])|<unused95>|<channel\|>|\[BEGIN FINAL RESPONSE\]"
)
_EMPTY = rf"<{_NAME}\s{{0,20}}/>"

# Tokens that begin or end a turn or a part of it: whatever is in `<|…|>`, and those without bars that models have.
_TOKEN = (
    r"<[|｜][\w▁ ]{3,40}[|｜]>|<(?:start_of_turn|end_of_turn|end_of_utterance|bos|eos|pad|EOT|\w{1,20}:eos)>"
    r"|<\|turn>|<turn\|>|(?-i:\[/?INST\]|\[EOS\])|<</?SYS>>|\[\|(?:endofturn|assistant|user|system)\|\]"
    r"|\[END FINAL RESPONSE\]|</?s>"
)

ANY = re.compile(rf"(?P<open>{_OPEN})|(?P<close>{_CLOSE})|(?P<empty>{_EMPTY})|(?P<token>{_TOKEN})", re.IGNORECASE)
ROLE = re.compile(
    r"(?:assistant|model|chatbot)(?=[ \t]*(?:\n|<|$))\s*", re.IGNORECASE
)  # after a token that begins a turn
OPENED = re.compile(rf"(?P<mark>{_OPEN})\s*\Z", re.IGNORECASE)  # a prompt in whose end the thoughts begin

# OpenAI's harmony format: `<|channel|>analysis<|message|>…<|end|><|start|>assistant<|channel|>final<|message|>…`
CHANNEL = re.compile(
    r"(?:<\|start\|>[^<]{0,100})?<\|channel\|>\s{0,20}(?P<name>analysis|commentary|final)"
    r"(?:[^<]{0,100}(?:<\|constrain\|>[^<]{0,100})?<\|message\|>)?"
)
CHANNEL_END = re.compile(r"<\|(?:end|return|call|start)\|>")

# forms without tags: how the text begins, and what comes before the answer
PLAIN_FORMS = (
    (re.compile(r"\s*analysis(?=[A-Z\"'])"), re.compile(r"assistantfinal")),  # harmony without its tokens
    (
        re.compile(r"\s*Here is my thought process:"),
        re.compile(r"^\W*Here is my response:\s*", re.MULTILINE),
    ),
    (re.compile(r"\s*<details type=\"reasoning\"[^<>]{0,200}>"), re.compile(r"</details>\s*")),
    (
        re.compile(r"\s*```(?:think|thinking|thoughts?|reasoning)[ \t]*\n"),
        re.compile(r"^```[ \t]*$\s*", re.MULTILINE),
    ),
)

WRAPPED = re.compile(
    r"<(?P<tag>answer|response|output|result|final(?:_(?:answer|response|output))?)>(?P<text>.*)</(?P=tag)>",
    re.DOTALL | re.IGNORECASE,
)

# "Assistant: …", "### Response:" before an answer
SPEAKER = re.compile(
    r"\s*(?:(?:#{1,4}\s*)?\*{0,2}(?:assistant|asistente|chatbot|助手|助理)\*{0,2}\s?[:：]\*{0,2}\s+"
    r"|#{2,4}\s*\*{0,2}(?:response|output|respuesta|回复|回答)\*{0,2}\s?[:：]?\*{0,2}\s*\n\s*)(?=\S)",
    re.IGNORECASE,
)

_TAG = re.compile(r"^((?:[<◁＜\[]|&lt;)[|｜]? ?)([\w:]+)(?:\s.*?)??( {0,20}[|｜]?(?:[>▷＞\]]|&gt;))$")


def closing(opening: str) -> str:
    """The mark that closes the thoughts which a mark opens."""
    if opening.startswith("<|channel>"):
        return "<channel|>"
    if opening.startswith("<unused94>"):
        return "<unused95>"
    if re.search(r"begin|start", opening, re.IGNORECASE):
        end = re.sub(r"begin|start", "end", opening, flags=re.IGNORECASE)
        return end.upper() if opening.isupper() else end
    return _TAG.sub(r"\1/\2\3", opening)

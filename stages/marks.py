"""The marks in raw completions: what opens and closes thoughts, and the special tokens of chat templates."""

import re

# `<think>`, `<thinking>`, `<seed:think>`, `◁think▷`, `<|think|>`, and with a slash the closing ones
_NAME = (
    r"(?:\w{1,20}:)?(?:think|thinking|thoughts?|thought_process|reasoning|reflection|scratchpad|inner_monologue"
    r"|chain_of_thought)"
)
_LEFT, _RIGHT = r"(?:[<◁＜]|&lt;)[|｜]? ?", r" {0,20}[|｜]?(?:[>▷＞]|&gt;)"
_BLOCK = r"(?:think(?:ing)?|thought)"
_OPEN = (
    rf"{_LEFT}{_NAME}(?:\s[^<>\n]{{0,200}}?)?{_RIGHT}|<\|(?:begin|start)_(?:of_)?{_BLOCK}\|>"
    rf"|<\|{_BLOCK}_(?:begin|start)\|>|(?-i:\[THINK(?:ING)?\])|<unused94>(?:thought)?|<\|channel>\w*"
)
_CLOSE = (
    rf"{_LEFT}/ ?{_NAME}{_RIGHT}|<\|end_(?:of_)?{_BLOCK}\|>|<\|{_BLOCK}_end\|>"
    r"|(?-i:\[/THINK(?:ING)?\])|<unused95>|<channel\|>|\[BEGIN FINAL RESPONSE\]"
)
_EMPTY = rf"<{_NAME}\s{{0,20}}/>"

# tokens that begin or end a turn, in the models of Hugging Face's hub
_TOKEN_NAMES = (
    "im_start im_end im_sep eot_id eom_id eot start_header_id end_header_id begin_of_text end_of_text endoftext "
    "startoftext end start return call message channel constrain user assistant system observation end_of_turn "
    "start_of_turn endofturn start_of_role end_of_role end_of_message begin_of_sentence end_of_sentence "
    "begin▁of▁sentence end▁of▁sentence START_OF_TURN_TOKEN END_OF_TURN_TOKEN CHATBOT_TOKEN USER_TOKEN SYSTEM_TOKEN "
    "START_RESPONSE END_RESPONSE begin_of_solution end_of_solution pad bos eos"
)
_TOKEN = (
    rf"<[|｜](?:{'|'.join(_TOKEN_NAMES.split())})[|｜]>|<(?:start_of_turn|end_of_turn|bos|eos|pad)>|<\|turn>|<turn\|>"
    r"|(?-i:\[/?INST\])|<</?SYS>>|\[\|(?:endofturn|assistant|user|system)\|\]|\[END FINAL RESPONSE\]|</?s>"
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

# forms without tags: how the text begins, and what stands before the answer
PLAIN_FORMS = (
    (re.compile(r"\s*analysis(?=[A-Z\"'])"), re.compile(r"assistantfinal")),  # harmony without its tokens
    (
        re.compile(r"\s*Here is my thought process:"),
        re.compile(r"^\W*Here is my response:\s*", re.MULTILINE),
    ),
)

WRAPPED = re.compile(
    r"<(?P<tag>answer|response|output|final_answer)>(?P<text>.*)</(?P=tag)>", re.DOTALL | re.IGNORECASE
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

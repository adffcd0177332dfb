"""Replies that ask for the passage, say that it did not arrive, or that it has no answer, in three languages.

`ENGLISH`, `SPANISH` and `CHINESE` are for the beginning of a sentence, and about a passage that did not arrive.
Documents are missing in texts about law too, so words that these have (text, document, 材料) need something that only
the reply to a prompt says: "in your message", "so I", 以便我.
"""

import re
from collections.abc import Iterator

from filters.text.words import is_chinese, simplified

_WHOLE = r"(?=[.!。！]?\s{0,3}\Z)"  # the reply has no other sentence
_PASSAGE = r"(?:passages?|excerpts?|(?:source|reference|input) text)"
_INPUT = rf"(?:{_PASSAGE}|texts?|documents?|articles?|context|content|input|attachments?|files?|materials?)"
_MESSAGE = r"(?:message|prompt|request|question|input|post|conversation|chat|query|submission)"
_IN_MESSAGE = (
    rf"(?: (?:from|in|with|to|by) (?:your {_MESSAGE}|this (?:message|prompt|conversation|chat)|our (?:chat"
    rf"|conversation)"
    r"|the (?:prompt|user)|you\b))"
)
_SEEMS = (
    r"(?:(?:it|there) (?:seems?|looks?|appears?)(?: to me)?(?: like| that| as (?:if|though))? |I (?:notice|note|see"
    r"|think) (?:that )?)?"
)
_IS = (
    r"(?:(?:is|was|are|were|has been|have been|seems?(?: to (?:be|have been))?|appears?(?: to (?:be|have been))?|looks"
    r"|came through|arrived)(?: (?:currently|completely|actually|also))?|(?:is|was|are|were)(?=n['’]t))"
)
_NOT_THERE = (
    r"(?:missing|empty|(?:left )?blank|absent|incomplete|cut off|truncated|(?:not|n['’]t) (?:actually |fully "
    r"|yet )?(?:included"
    r"|provided|attached|given|present|visible|shown|here|available|supplied|there|pasted|shared))"
)
_GIVEN = r"(?:provided|given|included|attached|supplied|submitted|received|pasted|shared)"
ENGLISH = (
    rf"{_SEEMS}(?:the|your|any) (?:\w+ )?{_PASSAGE}(?: (?:itself|(?:that )?(?:you"
    rf"|I)\b[^.!?,\n]{{1,40}}?))? {_IS} ?{_NOT_THERE}"
    rf"(?:{_IN_MESSAGE}| here| above| below|,? (?:so|and) I\b|(?=[.,;!—–])|\s{{0,3}}\Z)"
    rf"|{_SEEMS}(?:the|your|any) (?:\w+ )?{_INPUT} {_IS} ?{_NOT_THERE}{_IN_MESSAGE}"
    rf"|{_SEEMS}(?:the|your|any) (?:\w+ )?(?:text|input|context|content) {_IS} ?{_NOT_THERE}(?:{_WHOLE}"
    rf"|[.,!] (?:please|could"
    r"|can you|I|so I)\b)"
    r"|I (?:was|have|had)(?: not|n['’]t) (?:been )?(?:given|provided with|shown|sent) (?:any|an?|the|your) (?:\w+ )?"
    rf"(?:passage|excerpt|source text|text|context){_WHOLE}"
    rf"|{_SEEMS}your (?:message|prompt|input|text|passage|query|post) {_IS} (?:to be )?(?:empty|blank|missing"
    rf"|incomplete"
    r"|cut off|truncated)\b"
    rf"|{_SEEMS}your (?:file|attachment|document|request|question|article) {_IS} (?:to be )?(?:empty|blank|cut off)\b"
    rf"|{_SEEMS}your {_MESSAGE} (?:does|did)(?: not|n['’]t) (?:seem to |appear to |actually )?(?:contain|include|have"
    rf"|provide|come with) (?:(?:any|an?|the|enough) )?(?:\w+ )?{_INPUT}\b"
    rf"|{_SEEMS}your {_MESSAGE} (?:contains|includes|has) no (?:\w+ )?{_INPUT}\b"
    rf"|{_SEEMS}(?:there )?(?:is|was|seems to be|appears to be)(?: no|n['’]t (?:any"
    rf"|an?)) (?:\w+ )?{_INPUT}{_IN_MESSAGE}"
    rf"|there (?:does not|doesn['’]t) (?:seem|appear) to be (?:any|an?) (?:\w+ )?{_INPUT}(?:{_IN_MESSAGE}| (?:provided"
    rf"|attached|included|here|to (?:summar|answer|work))|{_WHOLE})"
    rf"|{_SEEMS}(?:(?:there (?:is|was) )?no (?:passage|text|context|excerpt|source text|input|content)|nothing)"
    rf" (?:(?:was|were|has been|is|to) )?(?:{_GIVEN}|here|(?<=to )(?:work|answer|summari[sz]e))\b"
    r"(?! (?:in|by|to|with|for|from|at|on|about) (?:an?|his|her|its|their|the (?!prompt|user|question|request|message"
    r"|input))\b)"
    rf"|I (?:do not|don['’]t|did not|didn['’]t|have not|haven['’]t|cannot|can['’]t|could not|couldn['’]t) (?:actually "
    rf"|yet )?"
    r"(?:see|receive|received|get|find|locate|have) (?:any|an?|the|your) (?:\w+ )?"
    rf"(?:(?:passage|excerpt|source text|attachment)\b|(?:text|document|question|file|article)(?:{_IN_MESSAGE}|{_WHOLE}"
    rf"|,? (?:so|and|attached|provided|to (?:answer|summari[sz]e|work))\b))"
    rf"|I (?:see|have|received|find|was given) no (?:passage|excerpt|source text|attachment|text(?:{_IN_MESSAGE}"
    rf"|{_WHOLE}))"
    r"|you(?:['’]ve| have)? (?:only|just) (?:provided|given|gave|included|sent)(?: me)? (?:the|an?|your) (?:question"
    r"|instructions?|title|prompt)"
    rf"|the (?:{_PASSAGE}|text|attachment|file|link) (?:did|does)(?: not|n['’]t) (?:seem to have "
    rf"|appear to have )?(?:come through"
    r"|came through|go through|gone through|load|upload)(?=[.,;!]|\s{0,3}\Z| (?:so|and|properly|correctly)\b)"
    rf"|I(?:['’]ll| will| would|['’]d)? (?:also )?need (?:the|your|an?) (?:passage|excerpt|source text){_WHOLE}"
    rf"|(?:missing|empty|no) (?:passage|input|text|context){_WHOLE}"
    rf"|(?:passage|input|text|context) (?:is )?(?:missing|empty|not (?:provided|found|given|available)){_WHOLE}"
    r"|(?:it (?:seems|looks|appears)(?: like| that| as if)?|you(?:['’]ve| have)?) (?:that )?(?:you )?(?:did(?: not"
    r"|n['’]t)|have(?: not|n['’]t)|forgot(?:ten)? to) (?:provide|include|attach|share|paste|give|specif)\w*"
    r"|(?:please|could you|can you|would you|kindly)(?: please| kindly)? (?:provide|share|paste|supply|give|send"
    r"|include|upload|insert|enter|post)(?: me)?(?: with)? "
    r"(?:(?:the|a|an|your|more|some|me|with|full|actual|specific|complete|original|relevant"
    r"|additional) )+(?:(?:passage|excerpt|source text|context|prompt)\b"
    r"|(?:text|article|document|details|questions?|information|content|file)\b[^.!?\n]{0,40}\b(?:so (?:that )?I"
    r"|and I|you(?:['’]d| would| want|['’]re| are)|for me|I(?:['’]ll| will| can)|to (?:summari[sz]e|analy[sz]e"
    r"|work with)))"
)

_PASAJE = r"(?:pasajes?|fragmentos?|extractos?|textos?|contexto|enunciado)"
_ENTRADA = rf"(?:{_PASAJE}|documentos?|art[ií]culos?|contenido|archivos?|adjuntos?)"
_MENSAJE = r"(?:mensaje|solicitud|consulta|pregunta|petici[oó]n|entrada)"
_FOLLOWS_ES = (
    rf"(?= (?:para (?:poder )?(?:respond|contest|resum|anali|ayud|trabaj)|que (?:debo|quier|dese|neces|hay que|mencion"
    rf"|resum)"
    rf"|al que|sobre el que|en (?:tu|su|este|la) {_MENSAJE}|adjunt|proporcionad)|\s?[.,;:!]|\s{{0,3}}\Z)"
)
SPANISH = (
    r"no dispongo del (?:pasaje|texto|fragmento)\b"
    rf"|(?:necesito|necesitar[ií]a) que (?:me )?(?:proporcion|compart|facilit|env[ií]|incluy|pegu|adjunt)\w* (?:el|un"
    rf"|tu|su|la) {_ENTRADA}"
    r"|faltan? (?:(?:la|los|m[aá]s) )?(?:informaci[oó]n|datos|contexto|detalles)(?: necesari[oa]s?"
    r"| suficientes?)? para (?:poder )?"
    r"(?:responder|contestar|ayudar|resumir)"
    rf"|(?:me )?(?:parece (?:ser )?que )?(?:(?:me |hace )?falta|no aparece|no veo|no encuentro|no recib[ií]"
    rf"|no he recibido"
    rf"|no tengo|no hay|no dispongo de|no puedo (?:ver|leer|encontrar|abrir)) (?:(?:el|tu|su|un|alg[uú]n"
    rf"|ning[uú]n) )?{_PASAJE}(?: original| completo| fuente)?{_FOLLOWS_ES}"
    rf"|(?:parece (?:ser )?que )?(?:el|tu|su) {_PASAJE}(?: \w+)? no (?:(?:est[aá]|fue|ha sido|viene|aparece|se|se ha)"
    r" )?(?:incluid[oa]|adjunt\w{1,4}|proporcion\w{1,4}|facilit\w{1,4}|disponible|presente|aparece|est[aá]|incluy[oó]"
    r"|envi\w{1,4})"
    rf"{_FOLLOWS_ES}"
    rf"|(?:parece (?:ser )?que )?(?:tu|su) (?:{_MENSAJE}|texto|archivo|documento)(?: \w+)? (?:est[aá]|parece(?: estar)?"
    r"|lleg[oó]|aparece|ha llegado|viene) (?:vac[ií][oa]|en blanco|cortad[oa])"
    rf"|(?:parece (?:ser )?que )?(?:tu|su) {_MENSAJE} no (?:contiene|incluye|trae|tiene|adjunta) (?:(?:el|un"
    rf"|ning[uú]n) )?{_ENTRADA}"
    rf"|(?:parece (?:ser )?que )?no (?:me )?(?:has|ha|han|se ha|se han|hab[eé]is) (?:proporcionado|incluido|adjuntado"
    rf"|compartido|facilitado|enviado|dado) (?:(?:el|la|un|una|ning[uú]n) )?{_ENTRADA}{_FOLLOWS_ES}"
    rf"|(?:parece (?:ser )?que )?no se (?:me )?(?:proporcion[oó]|adjunt[oó]|incluy[oó]|facilit[oó]|envi[oó])"
    rf" (?:(?:el|un|ning[uú]n) )?{_PASAJE}{_FOLLOWS_ES}"
    r"|(?:parece que )?(?:te |se )?(?:(?:te|le) )?(?:olvidaste|olvid[oó]|has olvidado|ha olvidado) (?:de )?(?:incluir"
    rf"|adjuntar|pegar|proporcionar|enviar|compartir)(?:me)? (?:el|la|un|tu|su) {_ENTRADA}"
    r"|s[oó]lo (?:me )?(?:has|ha) (?:proporcionado|enviado|incluido|dado) (?:la pregunta|las instrucciones"
    r"|el t[ií]tulo)"
    rf"|(?:{_PASAJE}|entrada) (?:no proporcionad[oa]|vac[ií][oa]|ausente){_WHOLE}"
    r"|(?:por favor|¿?podr[ií]as?|¿?puedes?),? (?:proporcion|compart|facilit|suministr|env[ií]|incluy|pega|adjunt"
    r"|indi[cq])\w* (?:(?:el|la|un|una|tu|su|m[aá]s|me) )*(?:pasaje|texto (?:que|para|completo|original)|fragmento"
    r"|contexto|m[aá]s (?:informaci[oó]n|detalles))"
)

_MODIFIERS_ZH = (
    r"(?:任何|具体|相关|完整|有效|待\w{1,4}的|(?:需要?|要)\w{1,6}的|(?:您|你)?(?:所|要|想|需要)?(?:提供|上传|发送|总结"
    r"|提到)的|所说的|的){0,4}"
)
_PASSAGE_ZH = r"(?:段落|文段|片段|上下文|文本内容|文章内容|输入内容|文字内容)"
_INPUT_ZH = rf"(?:{_PASSAGE_ZH}|原文|文本|全文|文章|正文|文字|附件|材料|文件|文档|内容|输入)"
_FOLLOWS_ZH = r"(?=[。！!]?\s{0,3}\Z|[，,。；;！]\s?(?:请|我|无法|不能|因此|所以|故|麻烦|如果您|能否))"
_SEEMS_ZH = r"(?:看起来|看来|似乎|好像|目前|暂时|可能|并|还|尚|您|你|用户){0,4}"
CHINESE = (
    rf"{_SEEMS_ZH}(?:没有|未|未曾|忘了|忘记|漏了|没)(?:向我|给我)?(?:提供|附上|给出|上传|粘贴|发送|输入|包含|收到|看到"
    rf"|找到|检测到)"
    rf"{_MODIFIERS_ZH}(?:{_PASSAGE_ZH}(?=[。！，,；]|\s{{0,3}}\Z)|{_INPUT_ZH}(?:内容|信息)?{_FOLLOWS_ZH})"
    r"|(?:您|你)(?:似乎|好像|并){0,2}(?:没有|未)(?:提供|附上|给出|上传)(?:任何|具体|相关)?(?:的)?(?:段落|文本|原文|文章"
    r"|内容|上下文)"
    rf"|我(?:目前|暂时|并|还|尚){{0,2}}(?:没有?|未)(?:收到|看到|找到|见到|看见)(?:您|你)?{_MODIFIERS_ZH}{_INPUT_ZH}"
    rf"|我?(?:目前|暂时)?看不(?:到|见)(?:您|你)?{_MODIFIERS_ZH}{_INPUT_ZH}"
    r"|(?:您|你)(?:的|发送的|输入的|上传的|提供的)(?:消息|信息|输入|内容|文件|附件|文本|段落)(?:内容)?"
    r"(?:似乎|好像|可能|看起来){0,2}(?:是|为)?(?:空的|空白|空(?=[。！，,]|\Z)|缺失)"
    rf"|(?:您|你)的(?:消息|信息|输入|提问|请求|问题)(?:中|里)?(?:似乎|好像|可能|并){{0,2}}(?:缺少|没有|未)(?:包含|包括"
    rf"|附上|附|提供)?"
    rf"{_MODIFIERS_ZH}{_INPUT_ZH}"
    rf"|(?:消息|提问|请求|问题|输入)(?:中|里)(?:似乎|好像|并){{0,2}}(?:缺少|没有|未)(?:包含|包括|附上|附"
    rf"|提供)?{_MODIFIERS_ZH}{_PASSAGE_ZH}"
    rf"|{_PASSAGE_ZH}(?:似乎|好像|可能)?(?:缺失|丢失|没有提供|未提供|未附上|为空|是空的)(?=[。！，,]|\s{{0,3}}\Z)"
    rf"|{_SEEMS_ZH}(?:缺少|缺失|没有){_MODIFIERS_ZH}(?:{_PASSAGE_ZH}|原文|文本)(?:内容)?{_FOLLOWS_ZH}"
    r"|(?:您|你)只(?:提供|给出|发送|输入)了?(?:问题|指令|标题|题目)"
    rf"|(?:请|麻烦)(?:您|你)?(?:先|再)?(?:把|将){_MODIFIERS_ZH}{_INPUT_ZH}(?:发|提供|贴|粘贴|上传)"
    rf"|(?:文本|原文|内容|输入|文章|段落)(?:内容)?(?:似乎|好像|可能)?(?:缺失|丢失|为空|是空的){_FOLLOWS_ZH}"
    rf"|{_SEEMS_ZH}没有(?:可供|可以|需要)\w{{1,4}}的{_INPUT_ZH}"
    r"|(?:请|麻烦)(?:您|你)?(?:先|再)?(?:提供|给出|补充|上传|粘贴|发送|输入|附上|分享)(?:一下|给我)?(?:您的|你的"
    r"|更多的?"
    r"|具体的?|相关的?|完整的?|需要\w{0,6}的)*(?:的)?(?:段落"
    r"|文段|原文|文本|上下文|全文|文章|片段"
    r"|(?:材料|信息|内容|问题|细节|资料)[^。！？\n]{0,12}(?:以便我|我才能|我会|我将|让我|方便我))"
)

_TEXT = (
    r"(?:passage|text|context|excerpt|information provided|provided passage"
    r"|(?:provided|given|above) (?:text|document|information|context|article))"
)
_TEXT_ES = r"(?:texto|pasaje|contexto|fragmento|extracto|documento (?:proporcionado|facilitado))"
_TEXT_ZH = r"(?:文中|本文|该文|文章|段落|文段|原文|材料|文本|上文|给定的?内容|所给\w{0,4})"
_NO_ANSWER_ENGLISH = re.compile(
    rf"\b(?:{_TEXT}|the document) (?:(?:above|provided|given) )?(?:does not|doesn['’]t|do not"
    rf"|did not) (?:explicitly |directly |specifically |clearly )?"
    r"(?:mention|provide|contain|specify|include|say|give|state|discuss|address|indicate|explain|describe|offer"
    r"|answer)"
    rf"|\b(?:is|are|was) not (?:explicitly |directly |specifically |clearly )?(?:mentioned|stated|specified|provided"
    rf"|given|discussed|found|included|addressed|contained|available) in the {_TEXT}"
    rf"|\bno (?:information|mention|details?|answer|reference|indication)\b[^.!?\n]{{0,60}} in the {_TEXT}"
    rf"|\b(?:cannot|can['’]t|can not|impossible to|not possible to|unable to) (?:be )?(?:answer\w*|determin\w+"
    rf"|inferr?\w*|conclud\w+|known?|establish\w*)\b[^.!?\n]{{0,60}}\b(?:from|based on|with|using) the (?:{_TEXT}"
    rf"|information)"
    rf"|\b(?:based on|from|according to) the {_TEXT}(?: (?:above|provided|given))?,? (?:it (?:is|was) (?:impossible"
    rf"|not possible|unclear|unknown)|there (?:is|was) no (?:information|mention|indication|answer))"
    rf"|\b(?:not enough|insufficient) (?:information|context)\b[^.!?\n]{{0,40}}(?: in the {_TEXT}| to (?:answer"
    rf"|determine|tell))",
    re.IGNORECASE,
)
_NO_ANSWER_SPANISH = re.compile(
    rf"\bel {_TEXT_ES}(?: (?:proporcionado|facilitado|dado|anterior))? no (?:\w+ )?(?:menciona|proporciona|contiene"
    rf"|especifica|indica|dice|incluye|explica|aborda"
    rf"|ofrece|aclara|responde|señala)"
    rf"|\bel documento no (?:proporciona|contiene|ofrece|incluye) informaci"
    rf"|\bseg[uú]n el {_TEXT_ES},? no (?:es posible|se puede) (?:responder|determinar|saber|concluir)"
    rf"|\bno se (?:menciona|especifica|indica|proporciona|incluye|explica|aclara|dice"
    rf"|encuentra)\b[^.!?\n]{{0,60}}\ben el {_TEXT_ES}"
    rf"|\bno hay (?:suficiente )?(?:informaci[oó]n|menci[oó]n|datos|contexto)\b[^.!?\n]{{0,60}}\b(?:en el {_TEXT_ES}"
    rf"|para (?:responder|determinar|contestar))"
    rf"|\bno es posible (?:responder|determinar|saber|concluir)\b[^.!?\n]{{0,60}}\b(?:a partir del?|con el|con la"
    rf"|seg[uú]n el|bas\w+ en el) (?:{_TEXT_ES}|informaci[oó]n)",
    re.IGNORECASE,
)
_NO_ANSWER_CHINESE = re.compile(
    rf"{_TEXT_ZH}(?:中)?(?:并|均|都|里)?(?:没有|未|未曾|没)(?:明确|具体|直接|详细)?(?:提及|提到|提供|说明|给出|涉及"
    rf"|指出|包含|交代|回答|写明|描述)"
    rf"|(?:根据|从|由|依据|按照){_TEXT_ZH}[^。！？\n]{{0,6}}(?:无法|不能|难以)(?:得出|判断|确定|得知|回答|推断|知道)"
    rf"|{_TEXT_ZH}(?:中)?(?:并)?没有(?:任何)?(?:相关|有关|对应)(?:的)?(?:信息|内容|答案|说明|描述)"
    rf"|(?:无法|不能|难以)(?:从|根据|通过|由){_TEXT_ZH}[^。！？\n]{{0,12}}(?:得出|判断|确定|得知|回答|推断|知道)"
    rf"|无法确定答案|(?:信息|内容)(?:不足"
    rf"|不够)[^。！？\n]{{0,6}}(?:无法|以回答)",
    re.IGNORECASE,
)
_TEXT_WORDS = ("passage", "text", "excerpt", "information", "document", "article")
_TEXT_WORDS_SPANISH = ("texto", "pasaje", "fragmento", "extracto", "documento", "informaci")


def missing_answers(text: str) -> Iterator[tuple[int, str]]:
    """Where a text says that the passage has no answer, and the words."""
    lower = text.lower()
    patterns: list[re.Pattern[str]] = []
    if chinese := is_chinese(text):
        patterns.append(_NO_ANSWER_CHINESE)
    elif any(word in lower for word in _TEXT_WORDS):
        patterns.append(_NO_ANSWER_ENGLISH)
    if any(word in lower for word in _TEXT_WORDS_SPANISH):
        patterns.append(_NO_ANSWER_SPANISH)
    searched = simplified(text) if chinese else text
    for pattern in patterns:
        for match in pattern.finditer(searched):
            yield match.start(), text[match.start() : match.end()]

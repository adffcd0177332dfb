"""Refusals, disclaimers and "the passage does not say" in English, Spanish and Chinese, as chat models write them."""

import re
from collections.abc import Iterator

from filters.text.words import HAN

_REFUSAL_CHARS = 300  # refusals come first; further on, "I cannot" is a witness or a patient speaking

# What an assistant is asked for. "I cannot provide the rent" and "no puedo dar la dirección" are not about this.
_GOODS = (
    r"(?:advice|answers?|opinions?|guidance|information|details|content|text|summar\w+|respon[sd]\w*"
    r"|recommendations?|diagnos[ie]s"
    r"|assistance|help|instructions|explanations?|analys[ie]s|questions?|requests?|that|this|it|such|examples?"
    r"|interpretations?"
    r"|specifics|conclusions?|passages?|translations?|links?|files?|attachments?|images?|websites?|urls?|internet)\b"
)
_GOODS_ES = (
    r"(?:consejos?|asesor\w+|informaci[oó]n|respuestas?|opini[oó]n|diagn[oó]sticos?|recomendaci\w+|detalles|ayuda"
    r"|asistencia"
    r"|instrucciones|res[uú]men\w*|explicaci\w+|preguntas?|solicitud|eso|ese|esta?|esto|contenido|an[aá]lisis"
    r"|textos?|pasajes?)\b"
)
_ACTS = (
    r"(?:assist|help(?! but| feeling| noting)|answer|fulfil+|comply|respond|generate|create|engage|participate"
    r"|do (?:that|this)|continue with|proceed with)\b"
)
_ACTS_WITH_GOODS = (
    r"(?:provide|offer|give|share|write|produce|discuss|comment|summari[sz]e|translate|complete|process|access|open"
    r"|view"
    r"|see|find|read|review|analy[sz]e|interpret|determine|make|render|issue|support)\b[^.!?\n]{0,60}?\b"
)
_CANNOT = (
    r"(?:I (?:regret|confess)(?: to (?:say|inform you))?(?: that)? )?"
    r"I(?:\s(?:really|simply|respectfully|currently|therefore|also))?\s?(?:can(?:not|['’]t| not)|could ?n['’]?o?t"
    r"|won['’]t|will not|would not|wouldn['’]t"
    r"|(?:am|['’]m) (?:currently |also )?(?:unable to|not able to|not (?:in a position|permitted|allowed"
    r"|authori[sz]ed|programmed|designed|equipped|qualified"
    r"|trained|licensed) to|incapable of|not going to)|do(?: not|n['’]t) have the (?:ability|capability|capacity"
    r"|expertise"
    r"|authority) to)"
    r"(?:\s(?:be able to|(?:and|or|nor) (?:will|would|should) not|directly|personally|legally|ethically"
    r"|in good conscience|fully|actually|even|provide or))*"
)
_ENGLISH = (
    rf"{_CANNOT}\s(?:{_ACTS}|{_ACTS_WITH_GOODS}{_GOODS})"
    r"|I(?:['’]m| am) (?:really |very |so )?(?:sorry|afraid)\b[^.!?\n]{0,60}\b(?:can(?:not|['’]t)|unable|not able"
    r"|won['’]t|do(?: not|n['’]t)|no (?:passage|text))\b"
    r"|(?:I(?:['’]m| am) )?sorry,? but (?:I|the|there|this|that|your|no)\b[^.!?\n]{0,60}\b(?:can(?:not|['’]t)|unable"
    r"|not|no|n['’]t)\b"
    r"|I apologi[sz]e\b[^.!?\n]{0,60}\b(?:can(?:not|['’]t)|unable|not able|won['’]t|do(?: not|n['’]t))\b"
    r"|I (?:must|have to|need to|will have to|['’]ll have to|should|would like to|['’]d like to|respectfully"
    r"|politely|kindly)"
    r"(?: (?:respectfully|politely|kindly))? (?:decline|refuse)(?: to (?:answer|provide|assist|help|respond|comment"
    r"|give|write|generate|engage|fulfil)|[^\w]*(?:this|that|the|your) (?:request|question|task)|[ ,.]*(?:$|this\b"
    r"|that\b|as\b|because\b))"
    r"|I(?:['’]m| am) going to have to (?:decline|refuse)\b"
    r"|I (?:would |will |also )*need (?:(?:more|additional|further|the|to see|some) )+(?:information|context|details"
    r"|passage|text|excerpt)\b[^.!?\n]{0,30}\b(?:to|before I(?: can)?|in order to) (?:be able to )?(?:answer|respond"
    r"|help"
    r"|assist|summari[sz]e|provide|give|complete)\b"
    r"|(?:this|that|it) (?:is|falls|goes) (?:outside|beyond)(?: of)? (?:the scope of )?my (?:capabilit|abilit|expertise"
    r"|knowledge|scope|area|training)"
    r"|I(?:['’]d| would) (?:rather|prefer) not (?:to )?(?:answer|provide|assist|help|respond|comment|discuss|say"
    r"|give)\b"
    r"|I(?:['’]m| am| do(?: not|n['’]t) feel) (?:not )?comfortable (?:with )?(?:answering|providing|assisting"
    r"|discussing|generating|creating|writing|sharing|giving|this request)\b"
    r"|I (?:do not|don['’]t) (?:have|possess) (?:any |the |enough |sufficient |adequate "
    r"|the necessary )*(?:access to (?:(?:the|your|any|real-time|full|current|actual) )*(?:passage|text|document"
    r"|information|internet|article|link|file|data)|information (?:to|needed|required)|context (?:to|needed"
    r"|required)"
    r"|details to|(?:passage|text|context|excerpt) (?:to|you)|personal (?:opinions?|beliefs|experiences?|feelings))"
    r"|I (?:do not|don['’]t|cannot|can['’]t) see (?:any|a|the) (?:passage|text|excerpt|attachment|document"
    r"|question)\b"
    r"|(?:there (?:is|was) no|no) (?:passage|text|context|excerpt|source text) (?:(?:was|has been|is) )?(?:provided"
    r"|given|included|attached|supplied|here|to (?:work|answer|summari[sz]e))"
    r"|(?:it (?:seems|looks|appears)(?: like| that| as if)?|you(?:['’]ve| have)?) (?:that )?(?:you )?(?:did(?: not"
    r"|n['’]t)|have(?: not|n['’]t)|forgot(?:ten)? to) (?:provide|include|attach|share|paste|give|specif)\w*"
    r"|(?:please|could you|can you|would you|kindly)(?: please| kindly)? (?:provide|share|paste|supply|give|send"
    r"|include|upload|insert|enter|post)(?: me)?(?: with)? "
    r"(?:(?:the|a|an|your|more|some|me|with|full|actual|specific|complete|original|relevant"
    r"|additional) )+(?:(?:passage|excerpt|source text|context|prompt)\b"
    r"|(?:text|article|document|details|questions?|information|content|file)\b[^.!?\n]{0,40}\b(?:so (?:that )?I"
    r"|and I|you(?:['’]d| would| want|['’]re| are)|for me|I(?:['’]ll| will| can)|to (?:summari[sz]e|analy[sz]e"
    r"|work with)))"
    r"|(?:it (?:is|would be)|it['’]s) (?:not appropriate|inappropriate|unethical|irresponsible"
    r"|not possible) for me to\b"
    r"|(?:this|that|it|(?:your|the|this|such a) (?:request|question)) (?:goes against|violates|is against) (?:my"
    r"|our) (?:programming|guidelines|polic\w+|principles|values|ethic\w*)"
    r"|my (?:programming|guidelines|safety guidelines|ethical guidelines|instructions) (?:do(?: not|n['’]t)|prohibit"
    r"|prevent|forbid)"
)
_SPANISH = (
    r"(?:lo siento|lamento|lo lamento|disculp[ae]|perd[oó]n|me temo),?[^.!?\n]{0,40}\bno (?:puedo|podr[eé]"
    r"|me es posible|es posible|estoy|tengo|dispongo|hay|se (?:ha|me ha))\b"
    r"|no (?:puedo|podr[eé]|podr[ií]a|me es posible|soy capaz de|estoy (?:autorizad[oa]|capacitad[oa]|cualificad[oa]"
    r"|calificad[oa]|programad[oa]|diseñad[oa]|en condiciones|en posici[oó]n)"
    r"(?: para| de)?|tengo (?:la )?(?:capacidad|autoridad|facultad)(?: de| para)?)\s(?:ayudar|asistir|responder"
    r"|contestar|generar|crear|cumplir|proporcionar|atender|continuar con|participar|hacer eso)"
    rf"|no (?:puedo|podr[eé]|me es posible|estoy \w+ para|estoy en \w+ de) (?:dar|brindar|facilitar|ofrecer|emitir"
    rf"|redactar|escribir|resumir|traducir|analizar|acceder|comentar|realizar"
    rf"|hacer)\w*\b[^.!?\n]{{0,50}}?\b{_GOODS_ES}"
    r"|(?:debo|tengo que|he de|me veo obligad[oa] a) (?:respetuosamente |amablemente |cort[eé]smente )?(?:declinar"
    r"|rechazar|negarme a (?:responder|ayudar|proporcionar|dar))(?: respetuosamente| amablemente)?"
    r"|lamento no poder (?:responder|ayudar|contestar|asistir|proporcionar|ofrecer)"
    r"|necesit(?:o|ar[ií]a) (?:m[aá]s|el|la) (?:informaci[oó]n|contexto|detalles|texto|pasaje"
    r"|fragmento)[^.!?\n]{0,30}\bpara "
    r"(?:poder )?(?:responder|contestar|ayudar|resumir|dar)"
    r"|prefiero no (?:responder|contestar|opinar|dar|comentar)\b"
    r"|no (?:dispongo de|tengo|cuento con) (?:acceso (?:a|al|a la|a los) (?:texto|pasaje|documento|informaci"
    r"|internet|fuentes)|(?:suficiente |la )?(?:informaci[oó]n|contexto) (?:suficiente"
    r"|necesari[oa]|para)|suficiente (?:informaci[oó]n|contexto)|opiniones|creencias)"
    r"|(?:por favor|¿?podr[ií]as?|¿?puedes?),? (?:proporcion|compart|facilit|suministr|env[ií]|incluy|pega|adjunt"
    r"|indi[cq])\w* (?:(?:el|la|un|una|tu|su|m[aá]s|me) )*(?:pasaje|texto (?:que|para|completo|original)|fragmento"
    r"|contexto|m[aá]s (?:informaci[oó]n|detalles))"
    r"|(?:parece que )?no (?:has|ha|se ha) (?:proporcionado|incluido|adjuntado|compartido) (?:el|la|un|una"
    r"|ning[uú]n) (?:pasaje|texto|fragmento|contexto)"
    r"|(?:va|ir[ií]a|est[aá]) en contra de mis (?:principios|directrices|pol[ií]ticas|normas|valores)"
)
_GOODS_ZH = r"(?:信息|建议|答案|回答|答复|服务|帮助|内容|意见|诊断|解答|协助|指导|总结|摘要|分析|结论|请求|问题|要求)"
_CHINESE = (
    r"(?:很|非常|十分|真的|真)?(?:抱歉|对不起|不好意思|很遗憾|请原谅|恕我直言)[^。！？\n]{0,16}(?:无法|不能|没办法"
    r"|没法|不便|难以|没有(?:提供|看到|找到|足够)|不会(?:提供|回答))"
    rf"|我(?:目前|暂时|现在|实在|并)?(?:无法|不能|没法|没办法|不便|不会|难以|不可以)(?:直接|继续|为您|给您|向您|为你"
    rf"|给你|对此|就此|帮您|帮你)?"
    rf"(?:给到|回答|答复|作答|协助|帮助|满足|生成|遵从|执行(?:您|你|该|这)|(?:提供|给出|给予|完成|处理|透露|讨论"
    rf"|撰写|创作|总结|翻译|访问|查看|判断|评论|做出"
    rf"|作出)[^。！？\n]{{0,20}}?{_GOODS_ZH}|提供(?:$|[。，,]))"
    r"|我(?:必须|不得不|只能|需要|应当)(?:礼貌地|恭敬地|遗憾地|委婉地)?(?:拒绝(?:回答|提供|您|你|该|这|此)|婉拒|谢绝)"
    r"|恕(?:我)?(?:无法|不能|难以|难)(?:回答|提供|从命|奉告|协助)"
    r"|(?:暂时|目前)?(?:无法|不能|难以)(?:提供(?:相关|有关|此类|该|这|具体|任何)|回答(?:该|这|您|你|此)|为(?:您"
    r"|你)(?:提供|解答))"
    rf"[^。！？，,\n]{{0,12}}?{_GOODS_ZH}(?!的|，应)"
    r"|(?:这个|这一|该|您的|你的|此)(?:问题|请求|要求)(?:，)?我(?:无法|不能|没法|难以|不便)"
    r"|(?:这个|这一|该|您的|你的|此)(?:问题|请求|要求)超出(?:了)?我"
    r"|我需要(?:更多|进一步|具体)(?:的)?(?:信息|上下文|资料|背景|内容)[^。！？\n]{0,8}(?:才能|来|以便|方能)"
    r"|我拒绝(?:回答|提供|生成|执行|协助)|我不便(?:对此|就此)?(?:发表|置评|评论|透露)|(?:我)?爱莫能助"
    r"|我没有(?:足够的?|相关的?|能力|权限|办法)(?:信息|上下文|资料|访问|回答|提供|来|去)"
    r"|我(?:不具备|不适合|不方便|无权)(?:提供|回答|给出|讨论)"
    r"|请(?:您|你)?(?:先|再)?(?:提供|给出|补充|上传|粘贴|发送|输入|附上|分享)(?:一下|给我)?(?:您的|你的|更多的?"
    r"|具体的?|相关的?|完整的?|需要\w{0,6}的)*(?:的)?(?:段落"
    r"|文段|原文|文本|上下文|全文|文章|片段"
    r"|(?:材料|信息|内容|问题|细节|资料)[^。！？\n]{0,12}(?:以便我|我才能|我会|我将|让我|方便我))"
    r"|(?:您|你)(?:似乎|好像|并)?(?:没有|未)(?:提供|附上|给出|上传)(?:任何|具体|相关)?(?:的)?(?:段落|文本|原文|文章"
    r"|内容|上下文)"
    r"|(?:该|此|您的|你的|这个|这一)(?:请求|问题|要求)(?:违反|违背|超出)(?:了)?(?:我|我的|我们)"
)
# A refusal begins a sentence, or follows "Unfortunately," and the like; within quotation marks somebody else speaks.
_BEGINS = (
    r"(?:^|[.!?。！？\n]\s{0,3}|(?:unfortunately|however|regrettably|therefore|sadly|hello|hi|thank you|thanks|sure"
    r"|okay|but|so"
    r"|as such|(?:my )?apologies|desafortunadamente|lamentablemente|sin embargo|por desgracia|hola|gracias|por ello"
    r"|pero)"
    r"[,!]?\s{1,3}|(?:很遗憾|遗憾的是|您好|你好|但是?|因此|所以)[，,！]?"
    r"|\b(?:without|based on|given|(?:in order )?to answer|with (?:all )?due respect|due to|since|because|as an?"
    r"|con el debido"
    r" respeto|sin el|para responder|debido a)\b[^.!?\n,]{0,60},\s)[*_\s]{0,3}"
)
_REFUSAL_LATIN = re.compile(rf"{_BEGINS}(?P<refusal>{_ENGLISH}|{_SPANISH})", re.IGNORECASE)
_REFUSAL_CHINESE = re.compile(rf"{_BEGINS}(?P<refusal>{_CHINESE})", re.IGNORECASE)
_MODEL = re.compile(
    r"\bas an? (?:\w+ )?(?:AI|artificial intelligence|(?:large )?language model|virtual assistant|chatbot)"
    r"(?: (?:language )?(?:model|assistant|chatbot|system|program))?(?: (?:trained|developed|created|made) by \w+)?,?"
    r" (?:I\b|I['’]m\b|my\b|it (?:is|would be) (?:not|im|in))"
    r"|^as an? (?:\w+ )?(?:AI|artificial intelligence|language model)(?: (?:language )?(?:model|assistant|chatbot"
    r"|system|program))?"
    r"(?: (?:trained|developed|created|made) by \w+)?,"
    r"|\bI(?: am|['’]m) (?:just |only |merely )?an? (?:\w+ )?(?:AI|artificial intelligence|(?:large )?language model"
    r"|virtual assistant|chatbot)\b"
    r"|\bI(?: am|['’]m) not (?:a|your|an) (?:medical |legal |licensed |qualified |real |health ?care |financial )*"
    r"(?:doctor|physician|lawyer|attorney|professional|advisor|human)\b,? (?:but|so|and (?:I |can)|however|I\b|nor)"
    r"|\bmy (?:training data|knowledge cut-?off|last (?:knowledge )?update|training cut-?off)\b"
    r"|\bI was (?:trained|developed|created) by (?:OpenAI|Anthropic|Google|Meta|Alibaba|Mistral|DeepSeek|Microsoft)\b"
    r"|\bcomo (?:un )?(?:modelo de lenguaje|(?:una )?inteligencia artificial|IA|asistente (?:virtual"
    r"|de IA))(?: \w+){0,3}?,? (?:no|puedo|mi|me|carezco|debo|yo)\b"
    r"|^como (?:un )?(?:modelo de lenguaje|(?:una )?inteligencia artificial|IA|asistente (?:virtual"
    r"|de IA))(?: \w+){0,2},"
    r"|\b(?:solo )?soy (?:solo |s[oó]lo )?(?:un modelo de|una IA\b|una inteligencia artificial"
    r"|un asistente (?:virtual|de IA))"
    r"|\bmis datos de entrenamiento\b|\bmi (?:fecha de corte|entrenamiento (?:llega|termina))"
    r"|作为(?:一个|一名|一款)?(?:AI|人工智能|语言模型|大型?语言模型|智能助手|虚拟助手)(?:助手|模型|语言模型"
    r"|系统)?[，,]?(?:我|本)"
    r"|^作为(?:一个|一名|一款)?(?:AI|人工智能|语言模型|大型?语言模型)(?:助手|模型|语言模型|系统)?[，,]"
    r"|我(?:只)?是(?:一个|一名|一款|由\w{2,10}(?:开发|训练|研发)的)?(?:AI|人工智能|语言模型|大型?语言模型|智能助手"
    r"|虚拟助手)"
    r"|我的(?:训练数据|知识截止|知识库截止)",
    re.IGNORECASE,
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
# Words of which each match of a pattern has one: looking for them is faster than trying the pattern at each place.
_MODEL_WORDS = (
    *(
        "language model",
        "artificial intelligence",
        "virtual assistant",
        "chatbot",
        " ai ",
        " ai,",
        " ai.",
        "i was ",
        "not a ",
    ),
    *("my training", "my knowledge", "my last", "modelo de lenguaje", "inteligencia artificial", "ia ", "ia,", "ia."),
    *("asistente", "de entrenamiento", "mi fecha", "mi entrenamiento", "an ai"),
)
_MODEL_WORDS_CHINESE = ("ai", "人工智能", "语言模型", "助手", "训练数据", "知识")
_TEXT_WORDS = ("passage", "text", "excerpt", "information", "document", "article")
_TEXT_WORDS_SPANISH = ("texto", "pasaje", "fragmento", "extracto", "documento", "informaci")


# Traditional characters of the patterns' words
_SIMPLIFIED = str.maketrans(
    "無醫議問題這個請給對幫為沒辦絕內說應該據來論遺語輔導", "无医议问题这个请给对帮为没办绝内说应该据来论遗语辅导"
)


def refusals(text: str) -> Iterator[tuple[int, str]]:
    """Where refusals are at the beginning of a text, and their words."""
    head = text[:_REFUSAL_CHARS]
    chinese = is_chinese(text)
    pattern = _REFUSAL_CHINESE if chinese else _REFUSAL_LATIN
    for match in pattern.finditer(head.translate(_SIMPLIFIED) if chinese else head):
        yield match.start("refusal"), head[match.start("refusal") : match.end()]


def disclaimers(text: str) -> Iterator[tuple[int, str]]:
    """Where a text calls its writer a model, or no lawyer or doctor, and the words."""
    lower = text.lower()
    if any(word in lower for word in (_MODEL_WORDS_CHINESE if is_chinese(text) else _MODEL_WORDS)):
        for match in _MODEL.finditer(text):
            yield match.start(), match[0]


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
    searched = text.translate(_SIMPLIFIED) if chinese else text
    for pattern in patterns:
        for match in pattern.finditer(searched):
            yield match.start(), text[match.start() : match.end()]


def is_chinese(text: str) -> bool:
    """Whether a text has a Chinese character."""
    return not text.isascii() and HAN.search(text) is not None

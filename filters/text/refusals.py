"""Refusals and disclaimers in English, Spanish and Chinese, as chat models write them."""

import re
from collections.abc import Iterator

from filters.text import missing
from filters.text.words import is_chinese, simplified

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
    rf"|{missing.ENGLISH}"
    r"|(?:it (?:is|would be)|it['’]s) (?:not appropriate|inappropriate|unethical|irresponsible|not possible|impossible"
    rf"|not (?:right|ethical|responsible)) for me to (?:{_ACTS}|(?:comment|speculate|opine|say)\b"
    rf"|{_ACTS_WITH_GOODS}{_GOODS})"
    rf"|I (?:do not|don['’]t) (?:think|believe) (?:that )?I(?: can| could| should| am able to|['’]m able to)"
    rf" (?:{_ACTS}|{_ACTS_WITH_GOODS}{_GOODS})"
    r"|(?:this|that|it)(?: is|['’]s) (?:(?:not something|nothing) (?:that )?I(?: can| could| am able|['’]m (?:able"
    r"|allowed))"
    r"|(?:something|a (?:topic|question|request|subject)) (?:that )?I(?: can(?:not|['’]t)|(?: am|['’]m) (?:unable"
    r"|not able)))\b"
    r"|(?:sorry\W{1,3}(?:but )?)?(?:I['’]m |I am |we are |we['’]re )?(?:unable to|not able to|cannot|can['’]t"
    r"|we can(?:not|['’]t))"
    r" (?:assist|help|comply|answer|respond|fulfil|fulfill|complete|process)(?: you)?(?: with| to)? (?:this|that"
    r"|your)\b"
    r"|I (?:do not|don['’]t) (?:provide|offer|give) (?:any )?(?:(?:legal|medical|financial|personal|professional|tax"
    r"|such)"
    r" )+(?:advice|opinions?|recommendations?|diagnos[ie]s)"
    rf"|I (?:refuse|decline) to (?:{_ACTS}|{_ACTS_WITH_GOODS}{_GOODS})"
    r"|I(?: do not| don['’]t| am not sure|['’]m not sure)(?: know)? how to (?:answer|respond|help)"
    r"|(?:no comment|I (?:do not|don['’]t) know(?: the answer(?: to (?:this|that|your) question)?)?)(?=[.!]?\s{0,3}\Z)"
    r"|(?:this|that|it|(?:your|the|this|such a) (?:request|question)) (?:goes against|violates|is against) (?:my"
    r"|our) (?:programming|guidelines|polic\w+|principles|values|ethic\w*)"
    r"|my (?:programming|guidelines|safety guidelines|ethical guidelines|instructions) (?:do(?: not|n['’]t)|prohibit"
    r"|prevent|forbid)"
)
_SPANISH = (
    r"(?:lo siento|lamento|lo lamento|disculp[ae]|perd[oó]n|me temo),?[^.!?\n]{0,40}\bno (?:puedo|podr[eé]"
    r"|me es posible|es posible|estoy|tengo|dispongo|hay|se (?:ha|me ha))\b"
    r"|no (?:(?:te|le|les|os) )?(?:puedo|podr[eé]|podr[ií]a|me es posible|soy capaz de|estoy (?:autorizad[oa]"
    r"|capacitad[oa]|cualificad[oa]"
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
    rf"|{missing.SPANISH}"
    r"|(?:me (?:es|resulta) imposible|no me resulta posible|no es posible para m[ií]|no sabr[ií]a"
    r"|no s[eé] c[oó]mo) (?:responder"
    r"|contestar"
    r"|ayudar|asistir|generar|cumplir)|imposible (?:responder|contestar|ayudar)\b"
    r"|(?:me niego a|rechazo|declino|no voy a) (?:responder|contestar|ayudar|opinar|proporcionar|generar)\b"
    r"|no (?:te |le )?(?:responder|contestar|ayudar|opinar)é\b"
    r"|no me siento c[oó]mod[oa] (?:respondiendo|contestando|dando|generando|ayudando|opinando|con (?:esta|esa))"
    r"|no (?:ofrezco|brindo|doy|proporciono) (?:asesor\w+|consejos?|opiniones|diagn[oó]sticos?|recomendaciones)"
    r"|(?:(?:eso|esto|es[at]a? (?:solicitud|pregunta|petici[oó]n)) )?(?:queda|est[aá]|se sale|excede"
    r"|supera)(?: fuera)?(?: de)?"
    r" (?:mi alcance|mis (?:capacidades|posibilidades|competencias|funciones))"
    r"|(?:sin comentarios|no lo s[eé]|no s[eé] la respuesta)(?=[.!]?\s{0,3}\Z)"
    r"|(?:va|ir[ií]a|est[aá]) en contra de mis (?:principios|directrices|pol[ií]ticas|normas|valores)"
)
_GOODS_ZH = (
    r"(?:信息|建议|答案|回答|答复|服务|帮助|内容|意见|诊断|解答|协助|指导|总结|摘要|分析|结论|请求|问题|要求|话题|段落"
    r"|原文|文章|链接)"
)
_STILL = r"(?:目前|暂时|现在|实在|并|也|还|真的|确实|恐怕|可能|暂){0,3}"
_CHINESE = (
    r"(?:很|非常|十分|真的|真)?(?:抱歉|对不起|不好意思|很遗憾|请原谅|恕我直言)[^。！？\n]{0,16}(?:无法|不能|没办法"
    r"|没法|不便|不(?:太)?方便|难以|没有(?:提供|看到|找到|足够)|不会(?:提供|回答))"
    rf"|我{_STILL}(?:无法|不能|没法|没办法|不便|不太?方便|不会|难以|不可以)(?:直接|继续|为您|给您|向您|为你"
    rf"|给你|对此|就此|帮您|帮你)?"
    rf"(?:给到|回答|答复|作答|协助|帮助|满足|生成|遵从|执行(?:您|你|该|这)|(?:提供|给出|给予|完成|处理|透露|讨论"
    rf"|撰写|创作|总结|翻译|访问|查看|判断|评论|做出"
    rf"|作出)[^。！？\n]{{0,20}}?{_GOODS_ZH}|提供(?:$|[。，,]))"
    r"|我(?:必须|不得不|只能|需要|应当)(?:礼貌地|恭敬地|遗憾地|委婉地)?(?:拒绝(?:回答|提供|您|你|该|这|此)|婉拒|谢绝)"
    r"|恕(?:我)?(?:无法|不能|难以|难|不)(?:回答|提供|从命|奉告|协助)"
    r"|(?:暂时|目前)?(?:无法|不能|难以)(?:提供(?:相关|有关|此类|该|这|具体|任何)|回答(?:该|这|您|你|此)|为(?:您"
    r"|你)(?:提供|解答))"
    rf"[^。！？，,\n]{{0,12}}?{_GOODS_ZH}(?!的|，应)"
    rf"|(?:这个|这一|这类|此类|该|您的|你的|此)(?:问题|请求|要求|话题)[，,]?我{_STILL}(?:无法|不能|没法|没办法|难以"
    rf"|不便|不太?方便)"
    rf"|(?:这个|这一|这类|此类|您的|你的)(?:问题|请求|要求|话题)[，,]?{_STILL}(?:无法|不能|没法|没办法|难以|不便"
    rf"|不太?方便)"
    r"(?:回答|答复|解答|处理|满足|评论|讨论|作答|协助)(?!的)"
    r"|(?:这个|这一|该|您的|你的|此)(?:问题|请求|要求)超出(?:了)?我"
    r"|我需要(?:更多|进一步|具体)(?:的)?(?:信息|上下文|资料|背景|内容)[^。！？\n]{0,8}(?:才能|来|以便|方能)"
    r"|我拒绝(?:回答|提供|生成|执行|协助)|我不便(?:对此|就此)?(?:发表|置评|评论|透露)|(?:我)?爱莫能助"
    r"|我没有(?:足够的?|相关的?|能力|权限|办法)(?:信息|上下文|资料|访问|回答|提供|来|去)"
    r"|我(?:不具备|不适合|不方便|无权)(?:提供|回答|给出|讨论)"
    rf"|{missing.CHINESE}"
    r"|我(?:还)?(?:没有?学会|不(?:太)?(?:知道|清楚|确定)该?(?:怎么|如何|怎样)?)(?:如何|怎么)?(?:回答|答复|答案)"
    r"|(?:我|对此|对于?(?:这个|该|此)问题){0,2}(?:无可奉告|不予(?:置评|评论|回答|回应|答复))(?=[。！，,]|\s{0,3}\Z)"
    r"|(?:我们|让我们|咱们|请)?(?:还是)?(?:换(?:个|一个)(?:话题|问题)|聊(?:点|些)别的)(?:吧|试试|再试|聊聊)"
    r"|这(?:已经?)?超[出过]了?我的?(?:能力|知识|权限|职责|范围)|我?(?:实在)?(?:回答|答复|解答)不了"
    r"|(?:此|该)问题(?:暂时|目前)?(?:无法|不便|不能|难以)(?:回答|答复|解答)(?=[。！，,]|\s{0,3}\Z)"
    r"|(?:拒绝(?:回答|作答)|暂?不(?:回答|作答)|(?:无法|不能)(?:提供|回答|作答|答复)|我不知道)(?=[。！]?\s{0,3}\Z)"
    rf"|这个我{_STILL}(?:无法|不能|回答不了|没法|不便)|我{_STILL}帮不(?:了|上)(?:您|你|忙|这)"
    r"|(?:该|此|您的|你的|这个|这一)(?:请求|问题|要求)(?:违反|违背|超出)(?:了)?(?:我|我的|我们)"
)
# A refusal begins a sentence, or follows "Unfortunately," and the like; within quotation marks somebody else speaks.
_BEGINS = (
    r"(?:^|[.!?。！？\n]\s{0,3}|(?:unfortunately|however|regrettably|therefore|sadly|hello|hi|thank you|thanks|sure"
    r"|okay|but|so"
    r"|(?:I(?:['’]m| am) )?(?:(?:so|very|really|truly) )?sorry|regretfully|alas|well|(?:good|great) question|dear user"
    r"|lo siento(?: mucho)?|disculp[ae]|perd[oó]n|buenos d[ií]as|buenas tardes|estimad[oa] usuari[oa]"
    r"|as such|(?:my )?apologies|desafortunadamente|lamentablemente|sin embargo|por desgracia|hola|gracias|por ello"
    r"|pero)"
    r"(?:\s?[,!.:;—–…-]{1,3})?\s{1,3}(?:but |pero )?"
    r"|(?:很遗憾|遗憾的是|您好|你好|但是?|因此|所以|亲爱的用户|尊敬的用户|感谢您的\w{2,4}|谢谢|不好意思|抱歉"
    r"|对不起)[，,！!。～~：:]{0,2}"
    r"|(?:关于|对于|针对|由于|鉴于)[^。！？，,\n]{1,24}[，,]"
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
# ", the witness stated." and "，证人说。" after the words: somebody whom the text is about has said them.
_SAID = (
    r"(?:said|stated|replied|answered|told|testified|explained|wrote|added|declared|insisted|argued|responded"
    r"|complained"
    r"|claimed|dijo|declar[oó]|afirm[oó]|respondi[oó]|contest[oó]|explic[oó]|manifest[oó]|señal[oó]|añadi[oó]|aleg[oó]"
    r"|insisti[oó]|escribi[oó]|refiri[oó]|refiere)"
)
_REPORTED = re.compile(
    rf"[^.!?\n]{{0,120}}?[,—–]\s?(?:{_SAID}\s(?!I\b|that\b|que\b)\w"
    rf"|(?!(?:as|I|you|which|and|but|because|since|what|so|como|pero|porque|(?:the|el) (?:passage|text|texto"
    rf"|pasaje))\b)"
    rf"(?:[\w'’-]{{1,20}}\.?\s){{1,4}}{_SAID}\b)",
    re.IGNORECASE,
)
_REPORTED_CHINESE = re.compile(
    r"[^。！？\n]{0,60}?[，,](?!请|因为|但|如果|文|原|这|所以)[^。！？，,\n我您你]{1,8}"
    r"(?:说|称|表示|陈述|答道|解释|声明)道?(?=[。！]|\s{0,3}\Z)"
)


def refusals(text: str) -> Iterator[tuple[int, str]]:
    """Where refusals are at the beginning of a text, and their words."""
    head = text[:_REFUSAL_CHARS]
    chinese = is_chinese(text)
    pattern = _REFUSAL_CHINESE if chinese else _REFUSAL_LATIN
    for match in pattern.finditer(simplified(head) if chinese else head):
        if not (_REPORTED_CHINESE if chinese else _REPORTED).match(text, match.end()):
            yield match.start("refusal"), head[match.start("refusal") : match.end()]


def disclaimers(text: str) -> Iterator[tuple[int, str]]:
    """Where a text calls its writer a model, or no lawyer or doctor, and the words."""
    lower = text.lower()
    if any(word in lower for word in (_MODEL_WORDS_CHINESE if is_chinese(text) else _MODEL_WORDS)):
        for match in _MODEL.finditer(text):
            yield match.start(), match[0]

"""Words that make a sentence wrong when one takes the other's place, by language."""

# In order: one becomes the next or the one before.
NUMBER_WORDS = {
    "en": "two three four five six seven eight nine ten twelve fifteen twenty thirty forty fifty sixty ninety",
    "es": "dos tres cuatro cinco seis siete ocho nueve diez doce quince veinte treinta cuarenta cincuenta sesenta",
}
UNITS = {
    "en": ["minutes hours days weeks months years", "minute hour day week month year"],
    "es": ["minutos días meses años", "horas semanas", "minuto día mes año", "hora semana"],  # by gender
}
MONTHS = {
    "en": "January February March April May June July August September October November December",
    "es": "enero febrero marzo abril mayo junio julio agosto septiembre octubre noviembre diciembre",
}
# Of `a b; c d` each of a pair becomes the other; of `a > b` only a becomes b. `_` is a space.
OPPOSITES = {
    # Only kinds of which readers found nine of ten changes right (docs/lab/rightness.md). Of others (before and after,
    # with and without, granted and denied, first and last, large and small) the rest of a sentence mostly decides.
    "en": """
        increase decrease; increases decreases; increased decreased; increasing decreasing; higher lower;
        highest lowest; more fewer; greater smaller; longer shorter; benign malignant; partial complete;
        permitted forbidden; at_least at_most; no_more_than no_less_than; civil criminal;
        Commission Council; President Governor; Supreme_Court District_Court; plaintiff defendant;
        plaintiffs defendants; plaintiff's defendant's; appellant respondent; landlord tenant; buyer seller;
        lender borrower; creditor debtor; licensor licensee; lessor lessee; insurer insured; controller processor
    """,
    "es": """
        aumento descenso; aumentó disminuyó; antes después; público privado; pública privada;
        demandante demandado; comprador vendedor; arrendador arrendatario; acreedor deudor;
        empleador trabajador; positivo negativo; positiva negativa; agudo crónico; aguda crónica; leve grave;
        benigno maligno; benigna maligna; izquierdo > derecho; izquierda derecha; deberá > podrá;
        deberán > podrán; podrá > no_podrá; podrán > no_podrán; no_podrá > podrá; no_podrán > podrán; no_deberá > podrá;
        no_deberán > podrán; permitido prohibido; permitida prohibida; aceptado rechazado; aceptada rechazada;
        obligatorio > opcional; obligatoria > opcional; válido > nulo; válida > nula;
        con_fines_de_lucro sin_fines_de_lucro; con_ánimo_de_lucro sin_ánimo_de_lucro; con_autorización sin_autorización;
        con_consentimiento sin_consentimiento; con_receta sin_receta; con_fiebre sin_fiebre;
        entrante saliente; entrantes salientes; lectura escritura;
        habilita deshabilita; habilitado deshabilitado; habilitada deshabilitada;
        activado desactivado; activada desactivada; simétrico asimétrico; simétrica asimétrica; nunca > siempre;
        de_origen de_destino; al_inicio > al_final; al_principio > al_final; al_final > al_principio;
        superior inferior; activo inactivo; activa inactiva;
        compatible incompatible; rápido lento; rápida lenta; diario semanal; anual > mensual; mensual > semanal;
        temporal permanente; más_de menos_de; al_menos como_máximo
    """,
    "zh": """
        应当 可以; 不得 > 可以; 增加 减少; 高于 低于; 以上 以下; 大于 小于; 之前 之后; 以前 以后;
        有效 无效; 原告 被告; 公开 不公开; 保密 > 公开; 全部 > 部分; 必须 > 可以; 上级 下级; 最高 最低;
        国务院 > 全国人民代表大会; 急性 慢性; 阳性 阴性; 良性 恶性; 升高 > 降低; 降低 > 提高; 首次 末次;
        甲方 乙方; 出租人 承租人; 发包人 承包人; 委托人 受托人; 债权人 债务人; 买受人 出卖人; 托运人 承运人;
        赠与人 受赠人; 抵押人 抵押权人; 人民法院 人民检察院;
        县级以上 > 乡级以上; 设区的市级以上 > 县级以上; 省级以上 > 县级以上;
        批准 备案; 书面 > 口头; 故意 过失; 有权 无权; 境内 境外;
        有偿 > 无偿; 无偿 > 有偿; 免费 > 有偿; 从重 从轻; 连带责任 > 按份责任; 连带赔偿责任 > 按份赔偿责任;
        民事责任 刑事责任; 过半数 > 三分之二以上; 三分之二以上 > 过半数; 每年 > 每季度; 每月 > 每年; 每季度 > 每月;
        进口 出口
    """,
}


def neighbour(words: list[str], word: str, *, up: bool) -> str:
    """The word after or before one of a list; at either end the only neighbour."""
    place = words.index(word)
    return words[place + 1] if place == 0 or (up and place + 1 < len(words)) else words[place - 1]

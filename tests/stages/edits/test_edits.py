"""Changes of one place of a sentence that make it wrong."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.edits import Edit, find_edits, passage_edits, search


def wrong(sentence: str, language: str = "en") -> set[str]:
    """The wrong sentences that need no generator, over several draws."""
    edits = [edit for draw in range(6) for edit in find_edits(sentence, language, draw)]
    return {edit.apply(edit.new) for edit in edits if edit.new is not None}


def open_edits(sentence: str, language: str = "en") -> set[tuple[str, str]]:
    return {(edit.kind, edit.old) for edit in find_edits(sentence, language, 3) if edit.new is None}


@pytest.mark.parametrize(
    ("sentence", "changed"),
    [
        ("The plaintiffs appealed the decision.", "The defendants appealed the decision."),
        ("The dose was increased after surgery.", "The dose was decreased after surgery."),
        ("The provider shall keep the logs.", "The provider may keep the logs."),
        ("The provider shall keep the logs.", "The provider shall not keep the logs."),
        ("The provider shall not keep the logs.", "The provider shall keep the logs."),
        ("The form must not be signed by him.", "The form must be signed by him."),
        ("The notice is due within 72 hours.", "The notice is due within 72 days."),
        ("A panel of three judges heard it.", "A panel of four judges heard it."),
        ("On May 3 the Supreme Court ruled.", "On May 3 the District Court ruled."),
        ("It needs at least a month.", "It needs at most a month."),
    ],
)
def test_english(sentence: str, changed: str) -> None:
    assert changed in wrong(sentence)


@pytest.mark.parametrize(
    ("language", "sentence", "changed"),
    [
        ("es", "El demandante pagará las costas.", "El demandado pagará las costas."),
        ("es", "Se paga en los tres meses siguientes.", "Se paga en los dos meses siguientes."),
        ("es", "Se paga en las dos horas siguientes.", "Se paga en las dos semanas siguientes."),
        ("es", "El arrendador no podrá subir la renta.", "El arrendador podrá subir la renta."),
        ("es", "El arrendador podrá subir la renta.", "El arrendador no podrá subir la renta."),
        ("es", "Se paga en más de tres meses.", "Se paga en menos de tres meses."),
        ("es", "El aviso podrá darse por escrito.", "El aviso no podrá darse por escrito."),
        ("es", "Es una entidad sin fines de lucro.", "Es una entidad con fines de lucro."),
        ("zh", "用人单位应当支付工资。", "用人单位可以支付工资。"),
        ("zh", "由国务院批准后实施。", "由全国人民代表大会批准后实施。"),
        ("zh", "原告提起了上诉。", "被告提起了上诉。"),
        ("zh", "应当在三十日内答复。", "应当在二十日内答复。"),
        ("zh", "应当在三十日内答复。", "应当在三十个月内答复。"),
        ("zh", "处五万元以下罚款。", "处六万元以下罚款。"),
        ("zh", "不得超过百分之十。", "不得超过百分之九。"),
        ("zh", "由县级以上人民政府批准。", "由乡级以上人民政府批准。"),
        ("zh", "应当报国务院主管部门备案。", "应当报国务院主管部门批准。"),
        ("zh", "合同应当采用书面形式。", "合同应当采用口头形式。"),
        ("zh", "当事人有权申请回避。", "当事人无权申请回避。"),
        ("zh", "是否准许，由人民法院决定。", "是否准许，由人民检察院决定。"),
        ("zh", "受托人应当亲自处理事务。", "委托人应当亲自处理事务。"),
        ("zh", "审理案件一律公开进行。", "审理案件一律不公开进行。"),
        ("zh", "夜间应当降低行驶速度。", "夜间应当提高行驶速度。"),
        ("es", "Corresponde a la especialidad de Cardiología.", "Corresponde a la especialidad de Psiquiatría."),
        ("es", "El instalador deshabilita las cuentas.", "El instalador habilita las cuentas."),
        ("es", "Le falta el permiso de lectura.", "Le falta el permiso de escritura."),
    ],
)
def test_other_languages(language: str, sentence: str, changed: str) -> None:
    assert changed in wrong(sentence, language)


@pytest.mark.parametrize(
    "sentence",
    [
        "The notice may be given before or after the hearing.",  # either may be true
        "Both plaintiffs and defendants appealed.",
    ],
)
def test_opposites_that_are_both_there_stay(sentence: str) -> None:
    assert not {edit.kind for edit in find_edits(sentence, "en", 1)} & {"opposite"}


def test_a_word_that_is_there_twice_stays() -> None:
    assert not wrong("The fee of 5 euros may be paid here, or it may be paid there.")
    assert not wrong("The Criminal Court of the county keeps the list of the criminal lawyers.")
    assert open_edits("The fee is 5 euros now, and it is 5 euros later.") == set()


def test_an_article_keeps_its_form() -> None:
    assert "It is followed by a abnormal QRS." not in wrong("It is followed by a normal QRS.")


def test_numbers_are_left_to_the_generator() -> None:
    assert open_edits("The controller has to answer within 30 days.") == {("number", "30")}


@pytest.mark.parametrize(
    "sentence",
    [
        "No religious instruction shall be provided.",  # "may" would say the same
        "Registers shall be kept only under official control.",
        "Symptoms seen with it are: Fever, Headache, Rash.",
        "The aim was to measure the dose.",
        "The figures were unchanged.",
        "The aim was to find out whether levels are raised in patients.",
        "No money shall be withdrawn from the fund.",
    ],
)
def test_changes_that_keep_the_meaning_or_make_nonsense_are_left_out(sentence: str) -> None:
    texts = wrong(sentence)
    assert not any(" may " in text or "without it" in text or "was not to" in text for text in texts)
    assert not any(
        "not unchanged" in text or "levels are not" in text or "shall not be withdrawn" in text for text in texts
    )


@pytest.mark.parametrize(
    "sentence",
    [
        "The bone is duplicated in the proximo-distal axis of the hand.",  # a part of a word
        "The practices that are described above.",  # a place in the text, not an amount
        "Antibodies react against the receptor.",  # nothing reacts in favor of it
    ],
)
def test_words_that_are_no_opposites_where_they_stand_stay(sentence: str) -> None:
    assert not any(word in text for text in wrong(sentence) for word in ("-proximal", "below", "in favor"))


def test_a_part_of_a_number_in_words_is_no_number() -> None:
    assert wrong("A man of fifty three came to the ward.") == {"A man of forty three came to the ward."} | {
        "A man of sixty three came to the ward."
    }


@pytest.mark.parametrize(
    "sentence", ["Lung cancer has the ICD-10 code C34.90.", "Under 42/7 and v1.2 it is so.", "3 of them came."]
)
def test_codes_and_numbers_at_the_start_are_no_numbers(sentence: str) -> None:
    assert not {kind for kind, _ in open_edits(sentence)} & {"number"}


@pytest.mark.parametrize(
    ("language", "sentence", "word"),
    [
        # the word is negated where it stands: "the text says valid, not void" would be false
        ("en", "The will is not valid in this state.", "void"),
        ("es", "El proveedor no podrá ceder los datos.", "deberá"),
        ("es", "La cláusula no es válida.", "no es nula"),
        ("zh", "个人隐私不予公开。", "保密"),
        # it is governed by another word, or a part of a name
        ("es", "El programa es compatible con otros formatos.", "sin otros"),
        ("es", "Puede comunicarse con gran parte del mundo.", "sin gran"),
        ("es", "La función se puede activar en el panel.", "se no puede"),
        ("en", "It shall assess the standard in accordance with the Regulation.", "without"),
        ("en", "The syndrome is associated with a rash.", "without"),
        ("zh", "国务院证券监督管理机构应当及时处理。", "全国人民代表大会"),
        ("zh", "自保险人知道或者应当知道有解除事由之日起计算。", "可以知道"),
        ("es", "Cualquier persona puede pulsar el botón.", "no puede"),
        ("es", "Genera paquetes que pueden no estar disponibles.", "no pueden"),
        ("zh", "应采取降低负面影响的措施。", "升高"),
        ("es", "Es información que se puede hacer público hoy.", "privado"),
        ("es", "Esta opción no es la del uso diario del equipo.", "semanal"),
        ("es", "Reduce el espacio necesario en el disco.", "innecesario"),
        ("es", "El paquete puede necesitar cambios locales.", "no puede"),
        ("es", "Tanto el cliente como el servidor pueden cifrar.", "no pueden"),
        ("es", "Para ahorrar espacio el sistema puede borrar datos.", "no puede"),
        # the rest of the sentence contradicts
        ("es", "La única desventaja es una transición que es difícil.", "fácil"),
        ("es", "Los paquetes no pueden descargarse porque desaparecieron.", "paquetes pueden"),
        ("es", "Los patrones pueden usarse para filtrar: presione la tecla l.", "no pueden"),
        ("es", "El servicio continuará activo y seguirá trabajando.", "inactivo"),
        ("es", "El servicio necesita más de una aplicación.", "menos de"),
        ("es", "La mayor parte de la migración ya se completó.", "menor"),
        ("es", "Es un servicio que permite ver la consola.", "impide"),
        ("zh", "应当采取有效措施保护水资源。", "无效"),
        ("zh", "被告人提起了上诉。", "原告"),
        ("zh", "听证期限不少于三十日。", "二十日"),
        ("zh", "期限不得超过一日的为短期。", "二日"),
        ("zh", "罚款不得超过三十日的收入。", "四十日"),
        # numbers of a reference
        ("zh", "依照本法第三年度报告的规定办理。", "第二"),
        # it is said by the way
        ("en", "The patients recovered (after the second dose) at home.", "before"),
        ("es", "Puede ser necesario reiniciar el equipo.", "innecesario"),
        ("es", "Le pueden servir las herramientas.", "no pueden"),
        ("es", "Se inicia después que el BIOS cede el control.", "antes"),
        ("es", "Con escasa o nula validación de los datos.", "válida"),
        # of the last four also the last three
        ("es", "Las últimas cuatro reglas rechazan el correo.", "tres"),
        ("en", "The last four rules reject such mail at once.", "three"),
        # nobody has the choice that the other word would give
        ("zh", "单位和个人应当遵守宪法和法律。", "可以"),
        ("zh", "申请人应当对材料的真实性负责。", "可以"),
        ("zh", "任何单位不得擅自改动装置。", "可以"),
        # both include the level that is named
        ("zh", "县级以上地方人民政府负责本区域的工作。", "以下"),
        # it is there twice
        ("zh", "国务院自然资源主管部门根据国务院授权履行职责。", "全国人民代表大会"),
        # the sentence shows itself that it is wrong
        ("es", "Hay dos órdenes: la primera borra, la segunda ordena.", "tres"),
        ("en", "The backup has two aims: to restore files and to replace a machine.", "three"),
        # a part of another word, of a name or of a list
        ("zh", "依法取得的所有权受保护。", "所无权"),
        ("zh", "由最高人民法院规定。", "检察院"),
        ("zh", "实际承运人应当负责。", "托运人"),
        ("zh", "应当遵循公开、公平原则。", "不公开"),
        ("zh", "不得向他人提供或者公开。", "不公开"),
        ("zh", "货物、物品（以下统称货物）应当接受检疫。", "以上"),
        ("zh", "不得超过标明的最高时速。", "最低"),
        ("zh", "县级以上人民代表大会常务委员会监督其工作。", "乡级"),
        ("zh", "在附件三中增加一项法律。", "减少"),
        ("zh", "不宜由审判员一人独任审理。", "二人"),
        ("zh", "转让应当遵循等价有偿原则。", "无偿"),
        ("zh", "应当降低研究、开发活动实施的风险。", "提高"),
        ("zh", "公司为增加注册资本发行新股。", "减少"),
        ("zh", "对进出口实行总量控制。", "进进口"),
        ("zh", "提供有偿服务收取费用的应当登记。", "无偿"),
        ("zh", "已经采取保密措施的应当证明。", "公开"),
        ("zh", "依照刑法规定追究刑事责任。", "民事"),
        ("zh", "有权处理的部门应当及时处理。", "无权"),
        ("zh", "盗窃人与使用人不是同一人。", "二人"),
        ("zh", "保证人为二人以上的，承担连带责任。", "一人"),
        ("zh", "由用人单位和职工共同缴纳。", "劳动者"),
        ("zh", "水文资料应当予以公开。", "不公开"),
        ("zh", "分别向公安部、国家安全部提出意见书。", "部分"),
        ("zh", "多占的土地以非法占用土地论处。", "合法"),
        ("zh", "通过买卖、赠与或者其他合法方式转移房地产。", "非法"),
        ("zh", "受到撤职处分的，应当相应降低关衔。", "提高"),
        ("zh", "不得因此降低其工资、福利等待遇。", "提高"),
        ("zh", "因保险标的的危险程度显著增加而发生的事故，不予赔偿。", "减少"),
        ("zh", "采取不公开被保护单位名称等保护措施。", "公开被"),
        ("zh", "不得同时在两个以上商标代理机构从事业务。", "以下"),
        ("zh", "用人单位和个人应当依法缴纳社会保险费。", "劳动者和"),
        ("zh", "膀胱结石由泌尿科诊治。", "眼科"),
        ("zh", "不得以低于成本的价格销售商品。", "高于"),
        ("zh", "国务院及其有关部门应当支持。", "全国人民代表大会及其"),
        ("zh", "经营者不得滥用平台规则。", "可以"),
        ("es", "El archivo está en /usr/local/etc ahora.", "remoto"),
        ("es", "Basta para el cambio de una versión mayor del sistema.", "menor"),
        # said of a purpose, a condition or a reason
        ("es", "Es el menú que le permite elegir el núcleo.", "impide"),
        ("es", "El formato sólo permite cuatro particiones.", "impide"),
        ("es", "Decide por su cuenta cuando es posible.", "imposible"),
        ("es", "Aunque puede indicar cada valor, basta uno.", "no puede"),
        ("es", "La disponibilidad es necesaria porque los discos fallan.", "innecesaria"),
        ("es", "MultiViews activa la negociación de contenido.", "inactiva"),
        ("es", "Uno nunca debe dormirse en los laureles.", "siempre"),
        ("es", "Es un medio de sólo lectura.", "escritura"),
        ("es", "LILO, el más antiguo de los dos, y GRUB arrancan el sistema.", "tres"),
        ("es", "Hay dos programas (ls y sort) en esta orden.", "tres"),
        ("es", "Contiene dos campos; el primer campo es el alias.", "tres"),
        ("es", "Si usa dos discos, el más grande no se llena.", "tres"),
        ("es", "Los usuarios pueden desear programas no libres.", "no pueden"),
        ("es", "Para prevenirlo puede proteger el gestor de arranque.", "no puede"),
        ("es", "No es posible que dos sistemas compartan el espacio.", "tres"),
        ("es", "No se cambia todo de un día para otro.", "mes"),
        ("es", "Es muy simple, pero no puede proteger de todo.", "pero puede"),
        ("es", "Se usan en el trabajo diario.", "semanal"),
        ("es", "Solo se permite el acceso desde el equipo.", "impide"),
        ("es", "El núcleo encontrará automáticamente la interfaz.", "manualmente"),
        ("es", "Otitis externa tiene el código CIE-10 H60.9.", "interna"),
        ("es", "Ejecuta el script antes de la copia, y pregunta todo al comienzo.", "después"),
        ("es", "Necesita tanto el servidor como al menos un controlador.", "como máximo"),
        ("es", "Sobrevive siempre que continúe al menos un disco.", "como máximo"),
        ("es", "Para aprovechar al máximo los recursos se lee antes.", "mínimo"),
        ("es", "El costo se puede reducir al espacio en disco.", "aumentar"),
        ("es", "Es un control obligatorio («Mandatory Access Control»).", "voluntario"),
        ("es", "Lo hace de la mejor forma que le es posible.", "imposible"),
        ("es", "Para saber más de estos aspectos hay un libro.", "menos de"),
        ("es", "Aún faltan, pero al menos sabe que están en marcha.", "como máximo"),
        ("es", "Rechaza los equipos sin una configuración válida.", "nula"),
        ("es", "Puede que haga falta otro nombre.", "no "),
        ("es", "Se gestiona de forma dinámica: puede cambiarse con LDAP.", "no puede"),
        ("es", "Comprueba si se permite el envío de correo.", "impide"),
        ("es", "Compartir la contraseña no es muy elegante.", "contraseña es"),
        ("es", "El nombre no es fijo, depende del orden.", "nombre es"),
        ("es", "Cuando el mensaje es rechazado, se envía otra vez.", "aceptado"),
        ("es", "Se comparan los datos entre dos fechas.", "tres"),
        ("es", "La búsqueda satisface los tres criterios.", "dos"),
        # both would say something else besides
        ("es", "La mora no es un derecho, sino una falta.", "mora es un derecho"),
    ],
)
def test_words_that_give_themselves_away_or_are_bound_stay(language: str, sentence: str, word: str) -> None:
    assert not any(word.casefold() in text.casefold() for text in wrong(sentence, language))


@pytest.mark.parametrize(
    ("language", "sentence"),
    [
        ("zh", "特发性高血压的ICD-10编码为I10，由心脏科诊治。"),
        ("es", "Para más información consulte la sección 10.2 del manual."),
        ("en", "The doses that were given are listed in Table 3 of the annex."),
        ("es", "La imagen es para procesadores de 32 bits del año."),
        ("zh", "结缔组织的其他系统性受累的ICD-10编码为M35.00。"),
        ("es", "Se explica con detalle en la página opendmarc.conf(5) del sistema."),
        ("es", "El proceso nuevo tiene el número #4522 en la lista."),
        ("es", "El protocolo de correo SMTP se define en el RFC 5321 de entonces."),
        ("en", "The owner may read, write and execute since 7 = 4 + 2 + 1 in all."),
        ("es", "El sistema ejecuta primero /etc/init.d/rc 2 y otros scripts."),
    ],
)
def test_codes_and_places_in_a_document_are_no_numbers(language: str, sentence: str) -> None:
    assert open_edits(sentence, language) == set()


def test_chinese_modals_are_changed_where_nothing_else_can_be_and_in_every_second_passage() -> None:
    sentences = ["申请人应当在三十日内答复。", "经营者应当支付工资。"]
    for draw in range(6):
        assert {edit.kind for edit in passage_edits(sentences, "zh", draw)} <= {"number", "unit"}
    assert [{edit.kind for edit in passage_edits(sentences[1:], "zh", draw)} for draw in range(4)] == [
        set(),
        {"modal"},
    ] * 2
    assert passage_edits(["县级以上人民政府定期公布名单。"], "zh", 0) == []
    assert {edit.kind for edit in passage_edits(["县级以上人民政府定期公布名单。"], "zh", 1)} == {"level"}
    assert [edit.kind for edit in passage_edits(["The owner shall pay."], "en", 0)].count("modal") == 1


def test_a_county_is_changed_to_what_it_does_not_include() -> None:
    texts = wrong("县级以上人民政府应当公布名单。", "zh")
    assert not any("省级以上" in text for text in texts)  # which would follow from the sentence


def test_the_sentences_of_a_passage_come_in_turn() -> None:
    sentences = ["The plaintiff appealed it.", "The fee was increased.", "A table."]
    edits = passage_edits(sentences, "en", 4)
    assert [edit.sentence for edit in edits[:2]] == [sentences[1], sentences[0]]
    assert passage_edits([], "en", 4) == []


@pytest.mark.parametrize("language", ["en", "es", "zh"])
def test_a_word_of_the_tables_has_one_opposite(language: str) -> None:
    table = search._table(language)
    assert len(table) > 20
    assert all(old != new and table.get(new, old) == old for old, new in table.items() if table.get(new) == old)


def test_a_word_that_stands_twice_in_the_tables_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(search.OPPOSITES, "xx", "up down; high > up; up high")
    with pytest.raises(ValueError, match="xx: high, up stands twice"):
        search._table("xx")


def test_a_comparison_after_not_is_changed() -> None:
    assert "It is not shorter than a page." in wrong("It is not longer than a page.")


@pytest.mark.parametrize(
    ("old", "text", "new"),
    [
        ("30", " 14 days after", "14"),
        ("30", "30 days", None),
        ("30", "thirty days", None),
        ("30", "4,000 days", None),
        ("2014", "2011, the court", "2011"),
        ("2014", "300 cases", None),
        ("12", "2020", None),
        ("3.7", "2.5%)", "2.5"),
        ("3.7", "2%)", None),
    ],
)
def test_what_the_generator_writes_is_taken_where_it_fits(old: str, text: str, new: str | None) -> None:
    sentence = f"It takes {old} days."
    assert Edit("number", sentence, sentence.index(old), old, None).replacement(text) == new


@pytest.mark.parametrize(
    ("before", "fits"),
    [
        ("the period referred to in paragraphs 4 and", False),
        ("notified in accordance with Article", False),
        ("los plazos de los apartados 4 y", False),
        ("it has to be paid within", True),
        ("Article 4 applies to parties of", True),
    ],
)
def test_a_number_of_a_reference_stays_near(before: str, fits: bool) -> None:
    edit = Edit("number", f"{before} 5 ends.", len(before) + 1, "5", None)
    assert edit.replacement("60 of") == ("60" if fits else None)
    assert edit.replacement("7 of") == "7"


@given(st.text(max_size=300), st.sampled_from(["en", "es", "zh"]), st.integers(0, 2**30))
def test_an_edit_changes_one_place_of_any_text(sentence: str, language: str, draw: int) -> None:
    edits = find_edits(sentence, language, draw)
    assert edits == find_edits(sentence, language, draw)
    for edit in edits:
        assert sentence[edit.start :].startswith(edit.old)
        assert edit.apply(edit.old) == sentence
        assert edit.new != edit.old
        edit.replacement(sentence)


def test_a_year_beside_another_stays() -> None:
    sentence = "They worked on it from 2011 to May 2012."
    assert Edit("number", sentence, sentence.index("2011"), "2011", None).replacement("2017") is None


def test_a_number_that_the_sentence_has_already_is_not_taken() -> None:
    sentence = "The server listens on port 4500 (or on port 500 without NAT)."
    edit = Edit("number", sentence, sentence.index("4500"), "4500", None)
    assert (edit.replacement("500 if"), edit.replacement("4501 if")) == (None, "4501")
    assert not any("two of the keys" in text for text in wrong("He has three of the keys and two of the rooms."))

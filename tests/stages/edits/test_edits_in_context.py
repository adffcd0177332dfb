"""What stands around a word decides whether its opposite is wrong, and whether the sentence stays whole."""

import pytest

from stages.edits import find_edits
from stages.targets import targets


def changes(language: str, sentence: str) -> set[tuple[str, str | None]]:
    """What is replaced by what, over several draws; None stands for what the generator writes."""
    return {(edit.old, edit.new) for draw in range(6) for edit in find_edits(sentence, language, draw)}


@pytest.mark.parametrize(
    ("sentence", "old", "new"),
    [
        ("受托人应当报告委托事务的结果。", "应当", "可以"),
        ("海关可以对欠缴税款的情况予以公告。", "可以", "应当"),
        ("当事人必须办理申请手续。", "必须", "可以"),
        ("保管人不得使用保管物。", "不得", "可以"),
        ("个别债权人的债务清偿无效。", "无效", "有效"),
        ("罚款额在二千元以下的，由税务所决定。", "以下", "以上"),
        ("工作底稿应当存放在中国境内。", "境内", "境外"),
        ("应当经国务院批准。", "国务院", "全国人民代表大会"),
        ("机关应当每年审核国家秘密。", "每年", "每季度"),
        ("由被告住所地人民法院管辖。", "被告", "原告"),
        ("公务员就职时公开进行宣誓。", "公开", "不公开"),
        ("赠与的财产在权利转移之前可以撤销。", "之前", "之后"),
        ("急性胰腺炎的ICD-10编码为K85.90。", "急性", "慢性"),
        ("应当在一个月内作出决定。", "一个月", "一年"),
        ("市级人民政府报国务院备案。", "备案", "批准"),
    ],
)
def test_chinese_words_that_are_changed(sentence: str, old: str, new: str) -> None:
    assert (old, new) in changes("zh", sentence)


@pytest.mark.parametrize(
    ("sentence", "old"),
    [
        # an aim or a quality is no act that somebody owes or may do
        ("公民应当增强节约资源的意识。", "应当"),
        ("申请人应当如实提供资料。", "应当"),
        ("被检查的个人应当提供资料，不得拒绝检查。", "应当"),
        ("经营者应当保证商品的质量并提供证明。", "应当"),
        # what is possible, not who owes what
        ("通过检测设备变量可以设置新的规则。", "可以"),
        ("开发者可以使用 apt 检查软件包。", "可以"),
        ("也可以由其上级机关批准。", "可以"),
        # who lacks a licence may not
        ("未经许可，任何单位不得使用该标志。", "不得"),
        ("不具备相应知识的，不得参加食品安全执法工作。", "不得"),
        # the rest of the sentence contradicts
        ("遇有暴力行为，经警告无效，可以使用武器。", "无效"),
        ("人民法院应当裁定无效，并宣告债务人破产。", "无效"),
        ("原租赁合同继续有效，但是租赁期限为不定期。", "有效"),
        ("华侨向境内捐赠的，可以协助办理入境手续。", "境内"),
        ("基金份额二分之一以上的持有人参加，方可召开。", "以上"),
        ("能够有形地表现内容的，视为书面形式。", "书面"),
        ("债务人应当按照协议清偿债务。", "债务人"),
        ("受赠人应当管理受赠财产。", "受赠人"),
        ("由人民法院裁定认可。", "人民法院"),
        ("作出处罚之前应当告知拟作出的内容。", "之前"),
        ("应当保密，不得泄露。", "保密"),
        ("应当增加投入，减少包装物并回收利用。", "减少"),
        ("从境外引进物种的，应当办理进口审批。", "进口"),
        ("依照有关民事法律承担民事责任。", "民事责任"),
        # nobody or nothing is meant by the other word
        ("两个以上行政机关都有管辖权。", "以上"),
        ("对债务承担无限连带责任。", "连带责任"),
        ("选举并有权罢免组成人员。", "有权"),
        ("实施免费或者优惠票价。", "免费"),
        ("参考上一年预算执行情况。", "一年"),
        ("电力项目不得使用国家明令淘汰的设备。", "不得"),
        ("其他有权请求实现担保物权的人提出申请。", "有权"),
        ("债权人会议讨论分配方案。", "债权人"),
        ("受赠人每年度应当报告情况。", "每年"),
        ("弥补以前年度亏损。", "以前"),
        ("国务院和地方各级人民政府应当管理教育。", "国务院"),
        ("国务院负责应急管理工作的部门应当报告。", "国务院"),
        ("设立最高额质权。", "最高"),
        ("县级以上人民政府民政部门应当共享信息。", "县级以上"),
        ("可以口头申请，由仲裁委员会记入笔录。", "口头"),
        # a part of a phrase or of another word
        ("编制国民经济和社会发展五年规划。", "五年"),
        ("选择器必须是密钥的唯一名称。", "一名"),
        ("表决实行一人一票。", "一人"),
        ("对于一名系统管理员来说，这是一种技能。", "一名"),
    ],
)
def test_chinese_words_that_stay(sentence: str, old: str) -> None:
    assert old not in {word for word, _ in changes("zh", sentence)}


def test_an_age_is_changed_as_a_whole() -> None:
    assert changes("zh", "女不得早于二十周岁。") == {("二十周岁", "十五周岁"), ("二十周岁", "三十周岁")}


def test_the_unit_of_one_end_of_a_range_stays() -> None:
    kept = changes("zh", "应当在公告的三个月以后、六个月以内召开会议。")
    assert not {new for _, new in kept} & {"六日", "三年", "六年"}


@pytest.mark.parametrize(
    ("sentence", "old", "new"),
    [
        ("El servidor web escucha siempre en el puerto 80.", "80", None),
        ("La primera edición del libro salió en 2004.", "2004", None),
        ("Las versiones reciben soporte durante 5 años.", "5", None),
        ("La filial de Montpellier tiene cerca de 50 trabajadores.", "50", None),
        ("La empresa recibe a cerca del 10 % de los clientes.", "10", None),
        ("Lo modifica según la dirección IP de destino.", "de destino", "de origen"),
        ("El mensaje dudoso es rechazado por el servidor.", "rechazado", "aceptado"),
        ("El núcleo pregunta antes de cada llamada.", "antes", "después"),
        ("El parámetro audit=1 habilita los registros.", "habilita", "deshabilita"),
        ("El uso de este formulario es obligatorio.", "obligatorio", "opcional"),
    ],
)
def test_spanish_words_that_are_changed(sentence: str, old: str, new: str | None) -> None:
    assert (old, new) in changes("es", sentence)


@pytest.mark.parametrize(
    ("sentence", "old"),
    [
        # numbers that count nothing, or whose members are named
        ("Los bloques están distribuidos en todos los N+1 discos.", "1"),
        ("Desde Debian 6 Squeeze hay un formato nuevo.", "6"),
        ("Se ejecuta con el número 1 de proceso en el arranque.", "1"),
        ("Una vez que los 3 archivos están listos, renómbrelos.", "3"),
        ("Se publican nuevas versiones cada 18 a 24 meses.", "24"),
        ("La interfaz está disponible en https://localhost:10000 desde hoy.", "10000"),
        # said twice
        ("Se ejecuta el script antes de la instalación, y el otro luego.", "antes"),
        ("Bruce fue el segundo líder justo después de Ian Murdock.", "después"),
        ("Dado que cambia, debe leer las notas antes de actualizar.", "antes"),
        # another sense
        ("En IPv6 se abrevia para facilitar la lectura del número.", "lectura"),
        ("Combina varios compendios de origen en un paquete.", "de origen"),
        ("La base de errores está abierta para el público.", "público"),
        ("Hay dos formas de crear una red privada virtual.", "privada"),
        ("Describe la estructura de las entradas aceptada.", "aceptada"),
        # the rest of the sentence contradicts
        ("Espera conexiones entrantes en el puerto del servidor.", "entrantes"),
        ("El único parámetro obligatorio es el nombre.", "obligatorio"),
        ("Detecta y habilita los módulos necesarios.", "habilita"),
        ("Deberá desmontarlos para reducirlos.", "Deberá"),
        ("Si usa la red local, el servidor responde.", "local"),
        ("Verifica las firmas antes de instalarlos para asegurar su autenticidad.", "antes"),
        ("Crea una tubería antes de bifurcarse que será heredada.", "antes"),
        ("El grupo no podrá ver otros procesos y puede restringir su acceso.", "no podrá"),
        ("En el mejor de los casos es incompatible con la placa.", "incompatible"),
        ("Los registros tampoco podrán llenar el disco.", "podrán"),
    ],
)
def test_spanish_words_that_stay(sentence: str, old: str) -> None:
    assert old not in {word for word, _ in changes("es", sentence)}


@pytest.mark.parametrize(
    ("language", "sentence"),
    [
        ("zh", '"修改为："国有企业在法律规定的范围内有权自主经营，并且依法承担责任。'),
        ("zh", "第三条 前款规定的申请人应当在三十日内向主管部门提交有关材料。"),
        ("es", "El primero revisa la cabecera del mensaje que menciona el programa de correo."),
        ("es", "En el primer caso, la entrada al túnel es un puerto de la máquina intermediaria."),
        ("es", "Cualquier conexión establecida en este puerto abre otra conexión con el servidor."),
    ],
)
def test_sentences_that_lean_on_another_are_no_targets(language: str, sentence: str) -> None:
    assert targets(sentence + "\n" + sentence[::-1], language) == []

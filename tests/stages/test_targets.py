"""Which sentences of a passage a row may be about."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.targets import MAX_CHARS, MIN_CHARS, targets

LEASE = "The tenant shall return the keys on the last day of the lease at noon."
RENT = "A tenant who pays the rent late owes interest of two per cent a month."
LEANING = "It shall also apply to every contract that was made before the first of May."

LEANING_ES = "Esto se aplica también a los contratos que se hicieron antes del primero de mayo."


def test_each_sentence_that_stands_alone_is_a_target() -> None:
    assert targets(f"{LEASE} {LEANING} {RENT}", "en") == [LEASE, RENT]


@pytest.mark.parametrize(
    "passage",
    [
        "",
        "Too short.",
        LEANING,
        "However, the tenant shall return the keys on the last day of the lease at noon.",
        "In addition to the rent the tenant pays for water, heating and the lift each month.",
        "the tenant shall return the keys on the last day of the lease at noon, and the rent.",
        "Which tenant has to return the keys on the last day of the lease at noon to the owner?",
        "The tenant (see paragraph 4 shall return the keys on the last day of the lease at noon.",
        'The tenant " shall return the keys on the last day of the lease at noon to the landlord.',
        'The <a href="x">decision</a> says that the tenant shall return the keys at noon on the last day.',
        "In Article 5 of the lease law of May, after the third one, this paragraph is added: ‘12.",
        "The tenant shall return the keys that are listed in paragraph 3. Landlords shall count them at noon.",
        "On the sixth of October the Supreme Court denied certiorari in this case, 135 S. Ct.",
        "Class counsel was to file a motion for final approval of the settlement by Oct.",
        "During every succeeding period of three years the grants may be less by ten per cent.",
        "The regulation was signed in Brussels for the Council by its President, Mrs J.A.",
        "To compare the rate of the infection in the two groups of tenants of the landlord.",
        "Determine whether the rate of the infection is greater with the new or the old test.",
        "20, 2017—according to the tenants, without justification—leaving the owners no choice.",
        "The tenant " + "and the landlord " * 40 + "shall return the keys.",
    ],
)
def test_what_leans_is_broken_or_is_no_statement_is_no_target(passage: str) -> None:
    assert targets(f"{LEANING}\n\n{passage}\n\n{LEANING}", "en") == []


@pytest.mark.parametrize("lead", ["Patient: ", "[doctor] ", "Guest_family: ", "3. ", "(b) ", "- "])
def test_speakers_and_numbers_are_left_out(lead: str) -> None:
    assert targets(f"{LEANING}\n{lead}{LEASE}", "en") == [LEASE]


def test_what_follows_a_semicolon_may_lack_its_subject() -> None:
    assert targets("个人信息处理者应当公开其规则；在规则变更之后的三十日以内应当及时通知有关的个人。" * 2, "zh") == []


def test_the_term_of_a_definition_stays() -> None:
    definition = "Digenic inheritance: A type of inheritance that is governed by two gene loci."
    assert targets(f"{LEANING}\n{definition}", "en") == [definition]


def test_in_begins_a_sentence_that_stands_alone_unless_it_points_back() -> None:
    alone = "In May the court ordered the landlord to return the deposit to all of the tenants."
    assert targets(f"{alone} {LEANING}", "en") == [alone]


@pytest.mark.parametrize(
    ("language", "sentence", "exception"),
    [
        ("en", LEASE, "Provided that the landlord has not agreed to a later day."),
        ("en", LEASE, "Paragraph 1 shall not apply to leases of less than a month."),
        (
            "es",
            "El arrendatario devolverá las llaves el último día del arrendamiento.",
            "No obstante, podrá pedir más.",
        ),
        ("zh", "董事不得利用职务便利谋取属于公司的商业机会和利益。", "但是，有下列情形之一的除外。"),
    ],
)
def test_a_sentence_that_the_next_one_limits_is_no_target(language: str, sentence: str, exception: str) -> None:
    lead = {"en": LEANING, "es": LEANING_ES, "zh": "其他规定见本法有关条款和国务院的有关规定以及实施细则。"}[language]
    assert targets(f"{lead}\n{sentence}", language) == [sentence]
    assert targets(f"{lead}\n{sentence}\n{exception}", language) == []


@pytest.mark.parametrize("start", ["Primero describamos", "Veamos ahora", "Recuerde que elegimos", "Consulte"])
def test_what_is_said_to_the_reader_is_no_target(start: str) -> None:
    assert targets(f"{LEANING_ES}\n{start} la opción que instala el paquete en todos los equipos.", "es") == []


@pytest.mark.parametrize(
    "sentence",
    [
        "Éstos programas bloquean el archivo antes de que se abra el editor de texto elegido.",
        "Es simple de entender y permite respaldos muy simples en todos los discos del equipo.",
        "Luego de este período el usuario deberá reducir su uso de espacio en el disco duro.",
        "En esta etapa, el núcleo elegido no está cargado aún en la memoria del equipo nuevo.",
        "Para que todo esto pueda funcionar es necesaria una instalación completa de Kerberos.",
        "De hecho, conviene activar la localización en las sesiones de todos los usuarios.",
        "Hubo demasiados días en que dejé sola a la familia con nuestros hijos para escribir.",
        "The above lists are not complete, but the manual page of the udev tool should be.",
        "Si no lo sabe, lea el apéndice del libro antes de leer los capítulos que siguen a este.",
        "El siguiente ejemplo muestra cómo se instala un paquete en todos los equipos de la red.",
        "Desplegado al principio de ADSL fue reemplazado rápidamente por otro protocolo nuevo.",
        "Indica que la dirección del remitente debe coincidir con una de las del dominio usado.",
        "The administrators also install a module so as to include the support in the server.",
        "Muchos son completamente funcionales en todos los equipos que tienen un procesador.",
        "Más allá de esta demora, se generará una alerta crítica en el servidor del equipo.",
        "Algunos lo critican y debemos confesar que todo ha crecido en gran medida al final.",
        "La salida se une con el carácter | de la consola, que es conocido como una tubería.",
    ],
)
def test_spanish_that_leans_or_is_english_is_no_target(sentence: str) -> None:
    assert targets(f"{LEANING_ES}\n{sentence}\n{LEANING_ES}", "es") == []


def test_chinese_without_who_acts_is_no_target() -> None:
    sentence = "中止原因消除后，应当恢复或者终结有关案件的查处程序。"
    assert targets(sentence + "其他情形应当按照本法第三十九条的规定办理有关的各项手续。", "zh") == []


def test_a_passage_of_one_sentence_would_give_the_answer_away() -> None:
    assert targets(LEASE, "en") == []


@pytest.mark.parametrize(
    ("language", "alone", "leaning"),
    [
        (
            "zh",
            "劳动者解除劳动合同应当提前三十日以书面形式通知用人单位。",
            "其他情形应当按照本法第三十九条的规定办理有关手续。",
        ),
        (
            "es",
            "El arrendatario devolverá las llaves el último día del contrato antes de las doce.",
            " Esta regla se aplicará también a los contratos celebrados antes del primero de mayo.",
        ),
    ],
)
def test_other_languages(language: str, alone: str, leaning: str) -> None:
    assert targets(alone + leaning, language) == [alone]


@given(st.text(max_size=600), st.sampled_from(["en", "es", "zh"]))
def test_any_text_has_targets_of_the_right_length_or_none(passage: str, language: str) -> None:
    for target in targets(passage, language):
        assert MIN_CHARS / 3 <= len(target) <= MAX_CHARS

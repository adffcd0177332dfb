"""Files of phrases: what a line may be, what an error names, and that each line of the packaged files is right."""

import re

import pytest

from filters.text.phrases import HERE, compiled, read

FILES = sorted(HERE.glob("*.txt"))


@pytest.fixture
def write(tmp_path):
    """Writes `sample.txt`."""

    def file(*lines: str):
        path = tmp_path / "sample.txt"
        path.write_text("\n".join(lines), "utf-8")
        return path

    return file


def test_comments_and_blank_lines_are_no_phrases(write):
    assert read(write("# about help", "", "I cannot", "  # indented", "no puedo")) == ["I cannot", "no puedo"]


def test_names_are_replaced_by_their_alternatives_as_a_group(write):
    path = write(
        "text = pages?|notes?", "not =", "    cannot|won't", "    # rare", "    shan't", "I {not} read {text}{0,2}"
    )
    assert read(path) == ["I (?:cannot|won['’]t|shan['’]t) read (?:pages?|notes?){0,2}"]


def test_a_pattern_matches_any_phrase_of_its_files_in_any_case(write):
    folder = write("I can't", "", "no (?:puedo|quiero)").parent
    pattern = compiled(r"(?:^|\. )(?P<words>{sample})", folder)
    assert [match["words"] for match in pattern.finditer("I CAN’T. No quiero. So I can't")] == ["I CAN’T", "No quiero"]
    assert compiled(r"(?:^|\. )(?P<words>{sample})", folder) is pattern


@pytest.mark.parametrize(
    ("lines", "error"),
    [
        (["# about help", "I {cannot} help"], "sample.txt:2: unknown name {cannot}"),
        (["I {cannot} help", "cannot = can't"], "sample.txt:1: unknown name {cannot}"),
        (["again = no {again}"], "sample.txt:1: unknown name {again}"),
        (["empty =", "I {empty}"], "sample.txt:2: unknown name {empty}"),
        (["not = no", "not = never"], "sample.txt:2: not is defined twice"),
        (["I cannot", "    help"], "sample.txt:2: an indented line"),
        (["I cannot", "I (?:must|should"], "sample.txt:2: missing )"),
        (["must =", "    should|*", "I {must}"], "sample.txt:2: nothing to repeat"),
    ],
)
def test_an_error_names_the_file_and_the_line(write, lines, error):
    with pytest.raises(ValueError, match=re.escape(error)):
        compiled("^{sample}", write(*lines).parent)


def test_an_expression_that_is_broken_around_its_files_is_shown(write):
    with pytest.raises(ValueError, match=re.escape("({sample}: missing )")):
        compiled("({sample}", write("I cannot").parent)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_packaged_phrases_are_right_line_by_line(path):
    """No line is broken by itself, matches the empty text by mistake, or defines what no phrase uses."""
    phrases = read(path, check=True)
    assert phrases
    assert [phrase for phrase in phrases if phrase != "^" and re.search(f"(?:{phrase})", "")] == []
    text = path.read_text("utf-8")
    names = re.findall(r"^(\w+) =", text, re.MULTILINE)
    assert [name for name in names if f"{{{name}}}" not in text] == []
    assert [line for line in text.splitlines() if len(line) > 120] == []

"""Scored texts: read from files, made by a judge, and used to train and measure heads."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from configs.errors import ConfigError, InputError
from configs.load import load
from filters.heads.labels import Label, read_labels
from pipeline.filtering import judging as judge
from pipeline.filtering.judging import read_rubric, sample
from stages.prompt import check
from tests.factories.command_line import call
from tests.factories.documents import passage, write_config, write_documents


def test_json_lines_and_csv_say_the_same(tmp_path):
    (tmp_path / "a.jsonl").write_text(
        '{"text": "Ein, \\"Satz\\"", "domain": "law", "score": 4, "by": "human", "note": "kept out"}\n\n'
        '{"text": "法", "domain": "medicine", "language": "zh", "score": null, "by": "judge:q"}\n',
        "utf-8",
    )
    (tmp_path / "a.csv").write_text(
        'text,domain,language,score,by\n"Ein, ""Satz""",law,,4,human\n法,medicine,zh,,judge:q\n', "utf-8-sig"
    )
    wanted = [
        Label(text='Ein, "Satz"', domain="law", score=4),
        Label(text="法", domain="medicine", language="zh", score=None, by="judge:q"),
    ]
    assert read_labels(str(tmp_path / "a.jsonl")) == read_labels(str(tmp_path / "a.csv")) == wanted


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", r"x.jsonl:1: not a JSON object"),
        ('{"text": "a", "domain": "law", "score": 6}', r"x.jsonl:1: score: .*less than or equal to 5"),
        ('{"text": "a", "domain": "law", "score": "nan"}', r"x.jsonl:1: score"),
        ('\n{"text": "", "domain": "law", "score": 1}', r"x.jsonl:2: text"),
        ('{"text": "a", "score": 1}', r"x.jsonl:1: domain: field required"),
        ("[]", r"x.jsonl:1: line"),
        ('{"text": "a", "domain": "law"}', r"x.jsonl:1: score: field required"),
    ],
)
def test_lines_that_are_no_label_are_named(tmp_path, text, said):
    (tmp_path / "x.jsonl").write_text(text, "utf-8")
    with pytest.raises(InputError, match=said):
        read_labels(str(tmp_path / "x.jsonl"))


def test_files_that_cannot_be_read_are_named(tmp_path):
    with pytest.raises(InputError, match=r"--labels: cannot read .*none.jsonl"):
        read_labels(str(tmp_path / "none.jsonl"))
    (tmp_path / "x.csv").write_bytes(b"text,domain,score\n\xff\xfe,law,1\n")
    with pytest.raises(InputError, match="not UTF-8"):
        read_labels(str(tmp_path / "x.csv"))


@settings(deadline=None)
@given(st.text(min_size=1).filter(lambda text: "\x00" not in text), st.floats(0, 5))
def test_a_label_survives_its_file(tmp_path_factory, text, score):
    label = Label(text=text, domain="law", score=score)
    path = tmp_path_factory.mktemp("labels") / "x.jsonl"
    path.write_text(label.model_dump_json() + "\n", "utf-8")
    assert read_labels(str(path)) == [label]


def test_the_rubric_renders_and_hides_who_wrote():
    task = read_rubric(None)
    for language in task.languages:
        assert "{{ answer }}" in task.prompt[language]
        assert not {"source", "generator", "title"} & set(task.prompt[language].split())
    with pytest.raises(ConfigError, match="templates do not render"):
        check(task)  # a task's prompt has no answer to show


@pytest.fixture(scope="module")
def judged(tmp_path_factory):
    folder = tmp_path_factory.mktemp("judged")
    config = write_config(folder, write_documents(folder / "d.jsonl", range(24)))
    assert call("run", "--config", config, "--date", "2026-11-01").code == 0
    return folder, config, folder / "out"


def test_a_judge_scores_candidates_kept_and_dropped(judged, tmp_path):
    _, config, data = judged
    labels = tmp_path / "labels.jsonl"
    flags = ["--set", "generator.model=another", "--set", "generator.max_model_len=4096", "--data", data]
    done = call("filter", "judge", "--config", config, *flags, "--labels", labels, "--rows", 12, "--json")
    assert done.code == 0, done.err
    made = read_labels(str(labels))
    assert 10 <= len(made) <= 14
    assert {label.by for label in made} == {"judge:another"}
    assert sum(done.line["scores"].values()) == len(made)
    assert any(label.score is not None for label in made)
    again = call("filter", "judge", "--config", config, *flags, "--labels", tmp_path / "b.jsonl", "--rows", 12)
    assert again.code == 0
    assert (tmp_path / "b.jsonl").read_bytes() == labels.read_bytes()
    ids = {row.id for row in sample(str(data), 1000)}
    assert {label.id for label in made} <= ids


def test_a_judge_does_not_judge_itself(judged, tmp_path):
    _, config, data = judged
    done = call("filter", "judge", "--config", config, "--data", data, "--labels", tmp_path / "x.jsonl")
    assert done.code == 2
    assert "name a judge of another family" in done.err
    assert not (tmp_path / "x.jsonl").exists()


def test_what_is_missing_is_named(judged, tmp_path):
    _, config, data = judged
    model = ["--set", "generator.model=another"]
    empty = call("filter", "judge", "--config", config, *model, "--data", tmp_path, "--labels", tmp_path / "x")
    assert empty.code == 1
    assert "no run folder holds candidates" in empty.err
    (tmp_path / "r.yaml").write_text("name: [", "utf-8")
    wrong = ["--data", data, "--labels", tmp_path / "x", "--rubric"]
    assert "not YAML" in call("filter", "judge", "--config", config, *model, *wrong, tmp_path / "r.yaml").err
    (tmp_path / "r.yaml").write_text("name: x\n", "utf-8")
    assert (
        "description: field required"
        in call("filter", "judge", "--config", config, *model, *wrong, tmp_path / "r.yaml").err
    )
    assert "cannot read" in call("filter", "judge", "--config", config, *model, *wrong, tmp_path / "no.yaml").err
    assert call("filter", "judge", "--config", config, *model, *wrong[:4], "--rows", "0").code == 2
    one = call("filter", "train", "--config", config, "--folds", "1")
    assert (one.code, "nothing to train on" in one.err) == (2, True)


def test_labels_that_cannot_be_written_are_named(judged, tmp_path):
    _, config, data = judged
    target = tmp_path / "file" / "x.jsonl"
    (tmp_path / "file").write_text("", "utf-8")
    with pytest.raises(InputError, match=r"--labels: cannot write .*x\.jsonl"):
        judge.judge(
            load(str(config), ["generator.model=another", "generator.max_model_len=4096"]),
            str(data),
            str(target),
            4,
            None,
            as_json=False,
        )


@pytest.mark.parametrize("text", ['{"score": 9}', "no", "", '{"reason": "x"}'])
def test_a_score_that_cannot_be_read_is_missing_not_low(text):
    from stages.ports import Completion, ModelCard

    row = next(iter(_rows()))
    label = judge._label(read_rubric(None), ModelCard("q", "1", "echo", "", 0), row, Completion(text, 1, 1, "stop"))
    assert label.score is None
    failed = Completion("", 1, 0, "error", "out of memory")
    assert judge._label(read_rubric(None), ModelCard("q", "1", "echo", "", 0), row, failed).score is None
    said = Completion('```json\n{"reason": "fine", "score": 3}\n```', 1, 1, "stop")
    assert judge._label(read_rubric(None), ModelCard("q", "1", "echo", "", 0), row, said).score == 3


def _rows():
    from tests.factories.candidates import candidate

    return [candidate(passage(1))]

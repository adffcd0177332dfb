"""The filter `grounded`: what it asks of its verifier, what it drops, and how it is measured on labels."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from configs.errors import ConfigError, InputError
from configs.schema import FilterSpec
from filters.build import build_filters, data_hashes, describe
from filters.grounding.support import content_of
from filters.heads.grounded.claims import MAX_CLAIMS, claims_of
from filters.heads.grounded.evaluation import answer_scores, label_report, label_scores, limit_of
from filters.heads.grounded.labels import read_grounded_labels
from filters.heads.grounded.verifier_card import SHIPPED, VerifierCard, located
from filters.heads.grounded.z_scores import mean_z_score
from stages.ports import ModelCard
from tests.factories.candidates import EDGES, GOOD, candidate

SCALES = {"grounded": [0.0, 1.0], "log_p": [-50.0, 10.0], "pmi": [1.0, 0.5]}
WRONG = "The tenant pays a hotel in Norway."


class Overlap:
    """A verifier that counts shared words: 0 if all of a claim's are in the passage, below if not."""

    def __init__(self, sha256="a" * 64):
        self.card = ModelCard("overlap", sha256, "transformers", "", 1)

    def score(self, passages, claims):
        missing = [len(content_of(c) - content_of(p)) for p, c in zip(passages, claims, strict=True)]
        return -np.array(missing, np.float32)


@pytest.fixture
def folder(tmp_path):
    VerifierCard("overlap", "a" * 64, ["en"], SCALES, {"g law en": -1.5, "g medicine en": None}, {}).write(tmp_path)
    return tmp_path


def judge(folder, verifier=None, **options):
    spec = FilterSpec.model_validate({"name": "grounded", "model": str(folder), **options})
    return build_filters([spec], open_verifier=lambda model, adapter: verifier or Overlap())[0][1]


def row(text, language="en", **changes):
    return candidate(text, language, **({"generator": "g", "domain": "law"} | changes))


def test_the_least_supported_sentence_decides(folder):
    one, both = judge(folder)([row(GOOD), row(f"{GOOD} {WRONG}")])
    assert one.reason is None
    assert both.reason == "ungrounded"
    assert WRONG in both.detail
    assert judge(folder)([row(WRONG)])[0].score == both.score


def test_without_a_limit_a_row_is_kept_and_counted(folder):
    verdicts = judge(folder)([row(WRONG, domain="medicine"), row(WRONG, generator="another")])
    assert [verdict.reason for verdict in verdicts] == [None, None]
    assert {verdict.findings for verdict in verdicts} == {("grounded_without_limit",)}
    assert all(verdict.score is not None for verdict in verdicts)
    assert judge(folder, min_score=-0.5)([row(WRONG, domain="medicine")])[0].reason == "ungrounded"


def test_languages_that_it_was_not_trained_on_get_no_score(folder):
    (verdict,) = judge(folder, min_score=0.0)([row("劳动者应当提前六十日通知用人单位。", "zh")])
    assert (verdict.reason, verdict.score) == (None, None)


def test_likelihoods_of_the_row_are_added(folder):
    scores = [{"filter": "log_p", "score": -30.0}, {"filter": "pmi", "score": 2.0}, {"filter": "length", "score": 9.0}]
    plain, likely = judge(folder)([row(GOOD), row(GOOD, scores=scores)])
    assert likely.score == pytest.approx((plain.score + 2.0 + 2.0) / 3)
    assert judge(folder, likelihoods=False)([row(GOOD, scores=scores)])[0].score == plain.score


class Asked(Overlap):
    """A language model that says no to what has Norway in it."""

    def score(self, passages, claims):
        return np.array([-6.0 if "Norway" in claim else 2.0 for claim in claims], np.float32)


def open_both(model, adapter):
    return Asked("d" * 64) if model == "asked" else Overlap()


def test_a_model_that_is_asked_counts_as_much_as_the_verifier(tmp_path):
    scales = SCALES | {"judge asked": [0.0, 2.0]}
    VerifierCard("overlap", "a" * 64, ["en"], scales, {}, {}).write(tmp_path)
    spec = FilterSpec.model_validate({"name": "grounded", "model": str(tmp_path), "judge": "asked", "min_score": -1.0})
    ((_, both),) = build_filters([spec], open_verifier=open_both)
    likely = [{"filter": "log_p", "score": -30.0}, {"filter": "pmi", "score": 2.0}]
    right, wrong, carried = both([row(GOOD), row(f"{GOOD} {WRONG}"), row(GOOD, scores=likely)])
    assert right.score == pytest.approx((0.0 + 1.0) / 2)
    assert (wrong.reason, WRONG in wrong.detail) == ("ungrounded", True)
    assert carried.score == pytest.approx((0.0 + 1.0 + 2.0) / 3)  # of the likelihoods, the sum alone
    assert [text for text, _ in both.pull(row(f"{GOOD} {WRONG}"))][-1] == WRONG
    assert both.pull(row(f"{GOOD} {WRONG}"))[-1][1] < both.pull(row(GOOD))[-1][1]
    alone = FilterSpec.model_validate({"name": "grounded", "model": str(tmp_path)})
    assert data_hashes([spec]) != data_hashes([alone])


def test_a_model_of_which_no_scale_is_known_is_an_error(folder):
    with pytest.raises(ConfigError, match=r"screen.filters\[0\].judge: the verifier does not know how 'asked' scores"):
        judge(folder, judge="asked")
    with pytest.raises(ConfigError, match=r"screen.filters\[0\].judge: the verifier does not know"):  # by `plan`
        data_hashes([FilterSpec.model_validate({"name": "grounded", "judge": "asked"})])

    def refuse(model, adapter):
        if model == "asked":
            raise ConfigError("model: there is no such model")
        return Overlap()

    spec = FilterSpec.model_validate({"name": "grounded", "model": str(folder), "judge": "asked"})
    with pytest.raises(ConfigError, match=r"screen.filters\[0\].judge: there is no such model"):
        build_filters([spec], open_verifier=refuse)


def test_json_is_read_field_by_field(folder):
    answer = {
        "period": "six years",
        "parties": ["the tenant", {"name": "The hotel in Norway pays nothing to anybody."}],
    }
    claims = claims_of(json.dumps(answer))
    assert claims == ["period: six years", "parties: the tenant", "The hotel in Norway pays nothing to anybody."]
    (verdict,) = judge(folder)([row(json.dumps(answer))])
    assert verdict.reason == "ungrounded"
    assert "Norway" in verdict.detail
    assert claims_of("{not JSON} but a sentence.") == ["{not JSON} but a sentence."]
    assert claims_of("[" * 5000) == []


def test_a_verifier_of_another_encoder_or_revision_is_an_error(folder, tmp_path):
    with pytest.raises(ConfigError, match=r"screen.filters\[0\].model: the verifier was trained on overlap"):
        judge(folder, Overlap("b" * 64))
    (tmp_path / "verifier.json").write_text("{}")
    with pytest.raises(ConfigError, match="not a verifier's folder"):
        judge(folder)
    with pytest.raises(ConfigError, match="cannot be opened here"):
        build_filters([FilterSpec(name="grounded")])


def test_any_model_can_take_its_place():
    spec = {"name": "grounded", "model": "owner/nli", "languages": ["en", "es"], "min_score": -0.5}
    opened = []
    ((_, other),) = build_filters(
        [FilterSpec.model_validate(spec)], open_verifier=lambda *names: opened.append(names) or Overlap("c" * 64)
    )
    assert opened == [("owner/nli", "")]
    assert [verdict.reason for verdict in other([row(WRONG), row("六年", "zh")])] == ["ungrounded", None]


def test_the_shipped_verifier_is_small_and_part_of_the_run_s_identity(folder):
    assert sum(path.stat().st_size for path in SHIPPED.iterdir()) < 3_000_000
    model, adapter, card = located("")
    assert (model, adapter) == ("all-minilm-l6-v2", str(SHIPPED))
    assert card is not None
    assert card.languages == ["en"]
    mine = {"name": "grounded", "model": str(folder)}
    assert data_hashes([FilterSpec(name="grounded")]) != data_hashes([FilterSpec.model_validate(mine)])
    assert {option["name"] for option in describe("grounded")["options"]} >= {"min_score", "model", "likelihoods"}


def test_total_at_the_edges(folder):
    filter_ = judge(folder, min_score=-2.0)
    batch = [row(text, language, passage=text[:1000]) for text in EDGES for language in ("en", "zh", "es")]
    assert filter_(batch) == filter_(batch)
    assert filter_([]) == []
    assert filter_([row(GOOD, passage="")])[0].score is None


@given(st.text(max_size=400))
def test_claims_are_few_and_have_letters(text):
    claims = claims_of(text)
    assert len(claims) <= MAX_CLAIMS
    assert all(any(character.isalpha() for character in claim) for claim in claims)


@given(st.dictionaries(st.sampled_from(["grounded", "log_p", "pmi", "unknown"]), st.floats(-100, 100), max_size=4))
def test_a_higher_score_never_lowers_the_sum(scores):
    higher = {name: value + 1 for name, value in scores.items()}
    assert mean_z_score(higher, SCALES) >= mean_z_score(scores, SCALES)


class TestLabels:
    def write(self, path, rows):
        path.write_text("".join(json.dumps(line) + "\n" for line in rows))
        return str(path)

    def test_are_measured_by_group_and_fault(self, tmp_path):
        base = {"passage": GOOD, "domain": "law", "kept_by_screen_1": True}
        good = [base | {"answer": GOOD, "faithful": [1, 1], "fault": ["none", "none"]}] * 5
        bad = [base | {"answer": WRONG, "faithful": [0, 0], "fault": ["invented", "relation"]}] * 5
        labels = read_grounded_labels(self.write(tmp_path / "l.jsonl", good + bad))
        report = label_report(labels, label_scores(Overlap(), labels, SCALES))
        assert [line["group"] for line in report][:2] == ["all", "kept by the other filters"]
        assert {line["group"]: line["auc"]["grounded"] for line in report}["fault invented"] == 1.0
        assert report[0]["auc"]["answer alone"] is not None
        asked = label_scores(Overlap(), labels, SCALES | {"judge": [0.0, 2.0]}, Asked())
        assert asked["judge"].tolist() == [2.0] * 5 + [-6.0] * 5
        assert asked["combined"][0] == pytest.approx((0.0 + 1.0) / 2)

    @pytest.mark.parametrize(
        "line", ['{"passage": "a"}', "[1]", "x", '{"passage": "a", "answer": "b", "faithful": []}']
    )
    def test_a_line_that_is_none_is_named(self, tmp_path, line):
        path = tmp_path / "l.jsonl"
        path.write_text(line + "\n")
        with pytest.raises(InputError, match=r"l.jsonl:1: .*fix or remove the line"):
            read_grounded_labels(str(path))

    def test_too_few_labels_give_no_limit(self):
        scores = np.arange(24.0)
        assert limit_of(scores, np.ones(24, int)) is None
        assert limit_of(np.arange(25.0), np.ones(25, int)) == 0.0

    def test_a_limit_keeps_nine_of_ten_right(self):
        scores, good = np.arange(300.0), np.array([0] * 150 + [1] * 150)
        limit = limit_of(scores, good)
        assert limit is not None
        assert 0.9 <= good[scores >= limit].mean() < 1.0

    def test_an_answer_without_claims_has_no_score(self):
        assert np.isnan(answer_scores(Overlap(), [GOOD, GOOD], ["...", GOOD])).tolist() == [True, False]

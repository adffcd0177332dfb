"""When a run counts as stalled, and what is said of a shard that is given up."""

from pipeline.run.supervisor import _signs_of_life
from stages.storage.progress_note import NoteWriter


def test_rows_and_tokens_within_a_shard_count_as_life_and_the_time_does_not(tmp_path):
    stage = tmp_path / "stages" / "seeds"
    stage.mkdir(parents=True)
    marker = stage / "part-00000-of-00001-0123456789abcdef.parquet.attempt-0"
    marker.touch()
    seconds = iter(range(0, 100, 5))
    notes = NoteWriter(marker, lambda: float(next(seconds)))
    started = _signs_of_life(tmp_path)
    notes.write(10, 0)
    some = _signs_of_life(tmp_path)
    assert some != started
    notes.write(10, 0)  # a later note about the same row
    assert _signs_of_life(tmp_path) == some
    notes.write(10, 7)
    assert _signs_of_life(tmp_path) != some

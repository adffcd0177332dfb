"""The labelling form in a terminal: one line a row, saved as soon as it is given."""

from collections.abc import Callable
from datetime import UTC, datetime

from configs.errors import InputError
from configs.load import load_audit_rubric
from configs.schema.audit_rubric import AuditRubric
from pipeline.auditing.session import AuditSession
from pipeline.pages.audit_rows import AuditRow
from pipeline.report.control_characters import without_control_characters
from pipeline.store.audit_labels import MAX_NOTE_CHARACTERS, AuditLabel
from pipeline.store.audit_sample import DIGEST_DIGITS

Ask = Callable[[str], str]
Show = Callable[[str], None]


def label_in_terminal(session: AuditSession, by: str, ask: Ask = input, show: Show = print) -> int:
    """Asks for a label of each row that the reader has not labelled. Returns how many were given.

    The end of input, Ctrl-C and `q` end it; every label that was given is saved.
    """
    rubric, rows = load_audit_rubric(), session.rows
    labelled = set(session.labels.get(by, {}))
    place = _next_unlabelled(rows, labelled, -1)
    count = 0
    show(guide(rubric))
    while place is not None:
        show(_row_text(rubric, rows[place], f"{place + 1} of {len(rows)}, {len(labelled)} labelled"))
        try:
            line = ask("> ").strip()
        except (EOFError, KeyboardInterrupt):
            show("")
            break
        if line == "q":
            break
        if line in ("s", "-"):
            place = (place - 1) % len(rows) if line == "-" else _next_unlabelled(rows, labelled, place)
            continue
        try:
            label = None if line in ("", "?") else parse_line(rubric, line, session, rows[place].id, by)
        except InputError as error:
            show(f"{error}\n")
            continue
        if label is None:
            show(guide(rubric))
            continue
        session.save([label])
        labelled.add(label.row)
        count += 1
        place = _next_unlabelled(rows, labelled, place)
    show(f"labels saved: {count}; {by} has labelled {len(labelled)} of {len(rows)} rows")
    return count


def guide(rubric: AuditRubric) -> str:
    """What to type: the keys of every answer and fault."""
    lines = [rubric.about, rubric.right, ""]
    for question in rubric.questions:
        lines.append(f"{question.question} {question.hint}")
        lines += [f"  {answer.key}  {answer.text}" for answer in question.answers]
    lines.append("What is wrong? (needed unless the row is right)")
    lines += [f"  {fault.key}  {fault.name}: {fault.text}" for fault in rubric.faults]
    lines.append("Type the keys of a row in one word, then a note if you like: fc4, or uc2i the court is invented")
    return "\n".join([*lines, "s skips a row, - goes back to the one before, ? shows this, q ends", ""])


def parse_line(rubric: AuditRubric, line: str, session: AuditSession, row: str, by: str) -> AuditLabel:
    """The label that a line of keys and a note means. Raises InputError saying what is missing or unknown."""
    keys, _, note = line.partition(" ")
    answers = {
        answer.key: (question.name, answer.value) for question in rubric.questions for answer in question.answers
    }
    faults = {fault.key: fault.name for fault in rubric.faults}
    values: dict[str, int] = {}
    fault = ""
    for key in keys.lower():
        name, value = answers.get(key, ("", 0))
        if not name and key not in faults:
            raise InputError(f"{key!r} is no key; ? shows the keys")
        if (name and name in values) or (not name and fault):
            raise InputError(f"{name or 'fault'} is given twice in {keys!r}; give it once")
        if name:
            values[name] = value
        else:
            fault = faults[key]
    missing = [question for question in rubric.questions if question.name not in values]
    if missing:
        keys_left = ", ".join(f"{question.name} ({_keys_of(question.answers)})" for question in missing)
        raise InputError(f"missing: {keys_left}")
    label = AuditLabel(
        row=row,
        by=by,
        time=datetime.now(UTC),
        publication=session.sample.digest[:DIGEST_DIGITS],
        fault=fault or "none",
        note=note.strip()[:MAX_NOTE_CHARACTERS],
        **values,
    )
    if not label.right and not fault:
        raise InputError(f"missing: what is wrong ({_keys_of(rubric.faults)})")
    return label


def _keys_of(choices: tuple) -> str:
    return " ".join(choice.key for choice in choices)


def _next_unlabelled(rows: list[AuditRow], labelled: set[str], place: int) -> int | None:
    """The place of the next row without a label, from the start again after the last one; None if there is none."""
    places = ((place + 1 + step) % len(rows) for step in range(len(rows)))
    return next((each for each in places if rows[each].id not in labelled), None)


def _row_text(rubric: AuditRubric, row: AuditRow, progress: str) -> str:
    turns = [line for turn in row.turns for line in (f"[{turn['role']}]", turn["content"])]
    head = f"--- {progress} · {row.domain} · {row.task} · {row.language}"
    remarks = [text for what, text in rubric.written.items() if what == row.writes]
    remarks += [f"The model's text: {row.written}"] if row.written else []
    written = [f"({' '.join(remarks)})"] if remarks else []
    return without_control_characters("\n".join([head, "", "PASSAGE", row.passage, "", "ANSWER", *written, *turns, ""]))

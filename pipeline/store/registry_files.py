"""The registry's files: each domain's pointer and its history of verdicts, which is never changed."""

import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from configs.errors import InputError, StoreError
from pipeline.store.registry import BY_HAND, VERSION, DomainRegistry, EvolveVerdict, replay
from stages.storage.atomic import TEMPORARY_PREFIX, write_text
from stages.storage.lock import HeldError, take_named_lock

FOLDER = "registry"
DOMAIN = re.compile("[a-z0-9][a-z0-9_-]*")  # the names that a config may give
Record = TypeVar("Record", DomainRegistry, EvolveVerdict)


@dataclass(frozen=True)
class Registry:
    """The registry of a data set, whose folder is `root`.

    Methods that write (`commit`, `catch_up`, `rollback`, `freeze`, `unfreeze`) are called with the `lock`. It is a lock
    of its own: a run may go on meanwhile, since it keeps the champions that it started with.
    """

    root: Path

    def domains(self) -> list[str]:
        """The domains that have a pointer or a verdict, by name."""
        folder = self.root / FOLDER
        names = [path.stem for path in folder.glob("*.json")]
        names += [path.parent.name for path in folder.glob("history/*/[0-9]*.json")]
        return sorted({name for name in names if DOMAIN.fullmatch(name)})

    def read(self, domain: str) -> DomainRegistry:
        """The pointer of a domain: without any verdict, the base model is its champion.

        Verdicts that are newer than the pointer's file are part of it: their process was killed before it wrote the
        pointer, or somebody removed that file. Raises StoreError when a file is damaged, missing or of a newer version.
        """
        pointer = self._pointer_file(domain)
        numbers = self.numbers(domain)
        pending = [number for number in numbers if number > pointer.last_verdict]
        for place, number in enumerate(pending, pointer.last_verdict + 1):
            if number != place:
                raise StoreError(
                    f"{self.verdict_path(domain, place)}: missing, although {number} is there; restore it from a copy "
                    "of the data set"
                )
        return replay(pointer, (self._verdict_file(domain, number) for number in pending))

    def numbers(self, domain: str) -> list[int]:
        """The numbers of a domain's verdicts, in order."""
        paths = self.verdict_path(domain, 1).parent.glob("*.json")
        return sorted(int(path.stem) for path in paths if re.fullmatch("[0-9]{4,}", path.stem))

    def history(self, domain: str) -> list[EvolveVerdict]:
        """All verdicts of a domain, oldest first. Raises StoreError when one is damaged or of a newer version."""
        return [self._verdict_file(domain, number) for number in self.numbers(domain)]

    def verdicts_on(self, domain: str, date: str) -> list[EvolveVerdict]:
        """The loop's verdicts on a domain for one date, oldest first. Raises StoreError as `history`."""
        return [each for each in self.history(domain) if each.date == date and each.kind not in (*BY_HAND, "base")]

    def verdict(self, domain: str, number: int) -> EvolveVerdict:
        """One verdict. Raises InputError when there is none of this number, StoreError as `history`."""
        numbers = self.numbers(domain)
        if number not in numbers:
            known = f"it has {numbers[0]} to {numbers[-1]}" if numbers else "it has none yet"
            raise InputError(f"{domain}: no verdict {number}; {known}")
        return self._verdict_file(domain, number)

    def variant_by_adapter(self, sha256: str, before: str = "9999") -> EvolveVerdict | None:
        """The verdict that made a variant with this adapter the champion; None if the registry does not know it.

        A later variant may keep the adapter and change the tasks' weights. `before`: the date of rows that were written
        with the adapter; the newest promotion of an earlier date is the one that they were written after. Of an adapter
        that was never promoted, the verdict that refused it. Raises StoreError as `history`.
        """
        verdicts = [verdict for domain in self.domains() for verdict in self.history(domain)]
        naming = [
            v for v in verdicts if v.challenger and v.challenger.adapter and v.challenger.adapter.sha256 == sha256
        ]
        promoted = [v for v in naming if v.status == "promoted"]
        earlier = [v for v in promoted if v.date < before]
        return (earlier or promoted or naming or [None])[-1]

    def adapter_paths(self) -> set[str]:
        """The folders, relative to the data set, of all adapters that ever were champion.

        An unfinished run may have started with one that was rolled back since. Raises StoreError as `history`.
        """
        promoted = [v for domain in self.domains() for v in self.history(domain) if v.status == "promoted"]
        return {v.challenger.adapter.path for v in promoted if v.challenger and v.challenger.adapter}

    def commit(self, verdict: EvolveVerdict) -> DomainRegistry:
        """Writes a verdict to the history, then the pointer after it, which is returned: `next_pointer`.

        A verdict that is there already, word for word, is not written again. Raises StoreError when another one of its
        number is there, when numbers would be left out, when it judged another champion or base model than the pointer
        names, or when it promotes in a domain that was frozen meanwhile; nothing is written then.
        """
        path = self.verdict_path(verdict.domain, verdict.number)
        pointer = self.read(verdict.domain)
        if verdict.number <= pointer.last_verdict:
            if self.verdict(verdict.domain, verdict.number) != verdict:
                raise StoreError(f"{path}: another verdict has this number; verdicts are never changed: judge again")
            return self.catch_up(verdict.domain)
        self._check_follows(pointer, verdict)
        write_text(path, _to_json(verdict))
        return self.catch_up(verdict.domain)

    def catch_up(self, domain: str) -> DomainRegistry:
        """Writes the pointer if it lacks verdicts of the history, and returns it. Raises StoreError as `read`."""
        pointer = self.read(domain)
        if pointer.last_verdict > self._pointer_file(domain).last_verdict:
            write_text(self.pointer_path(domain), _to_json(pointer))
        return pointer

    def rollback(self, domain: str, date: str, reason: str, *, to_base: bool = False) -> EvolveVerdict:
        """Makes the champion before the champion again, or the base model if there is none, by hand.

        `date`: YYYY-MM-DD of the verdict. `to_base`: the base model, whoever was before. Raises StoreError when
        the base model is the champion already.
        """
        pointer = self.read(domain)
        if pointer.champion.is_base and not pointer.previous:
            raise StoreError(f"{domain}: its champion is the base model already; there is nothing to roll back")
        return self._by_hand(pointer, "to-base" if to_base else "rollback", date, reason)

    def freeze(self, domain: str, date: str, reason: str) -> EvolveVerdict:
        """Keeps the champion: no candidate is made any more. Raises StoreError when it is frozen already."""
        pointer = self.read(domain)
        if pointer.frozen:
            raise StoreError(f"{domain}: frozen already ({pointer.frozen}); there is nothing to do")
        return self._by_hand(pointer, "freeze", date, reason)

    def unfreeze(self, domain: str, date: str, reason: str) -> EvolveVerdict:
        """Lets candidates be made again. Raises StoreError when the domain is not frozen."""
        pointer = self.read(domain)
        if not pointer.frozen:
            raise StoreError(f"{domain}: not frozen; there is nothing to do")
        return self._by_hand(pointer, "unfreeze", date, reason)

    @contextmanager
    def lock(self, work: str) -> Iterator[None]:
        """Locks the registry for one process, which the lock file names with its `work`.

        Raises HeldError, which names the process that has it, and StoreError when the folder cannot be written.
        """
        try:
            handle = take_named_lock(self.root / FOLDER / "lock", work)
        except HeldError as error:
            raise HeldError(
                f"{work}: {error.holder} in the registry of {self.root}; wait for it, or stop it first: "
                "started again it goes on where it was"
            ) from None
        except OSError as error:
            raise StoreError(
                f"{self.root / FOLDER}: cannot be written ({error.strerror}); fix the permissions or free space"
            ) from None
        try:
            for orphan in (self.root / FOLDER).rglob(f"{TEMPORARY_PREFIX}*"):  # of killed processes
                orphan.unlink(missing_ok=True)
            yield
        finally:
            os.close(handle)

    def pointer_path(self, domain: str) -> Path:
        return self.root / FOLDER / f"{_checked(domain)}.json"

    def verdict_path(self, domain: str, number: int) -> Path:
        return self.root / FOLDER / "history" / _checked(domain) / f"{number:04d}.json"

    def _pointer_file(self, domain: str) -> DomainRegistry:
        path = self.pointer_path(domain)
        if not path.exists():
            return DomainRegistry(domain=domain)
        fix = f"remove it: it is rebuilt from {self.verdict_path(domain, 1).parent}"
        pointer = _read(path, DomainRegistry, fix)
        if pointer.domain != domain:
            raise StoreError(f"{path}: it is the pointer of {pointer.domain!r}; {fix}")
        return pointer

    def _verdict_file(self, domain: str, number: int) -> EvolveVerdict:
        path = self.verdict_path(domain, number)
        fix = "restore it from a copy of the data set"
        verdict = _read(path, EvolveVerdict, fix)
        if (verdict.domain, verdict.number) != (domain, number):
            raise StoreError(f"{path}: it is verdict {verdict.number} of {verdict.domain!r}; {fix}")
        return verdict

    def _check_follows(self, pointer: DomainRegistry, verdict: EvolveVerdict) -> None:
        name = f"verdict {verdict.number} of {verdict.domain}"
        if verdict.number != pointer.last_verdict + 1:
            raise StoreError(f"{name}: the next one is {pointer.last_verdict + 1}; judge again")
        if verdict.champion.id != pointer.champion.id:
            raise StoreError(
                f"{name}: it is about {verdict.champion.id}, but {pointer.champion.id} is champion by now; judge again"
            )
        if pointer.frozen and verdict.status == "promoted":
            raise StoreError(
                f"{name}: the domain is frozen by now ({pointer.frozen}), so its champion stays; judge again"
            )
        if pointer.base_sha256 not in ("", verdict.base_sha256) and verdict.kind != "base":
            raise StoreError(
                f"{name}: it judged the base model {verdict.base_sha256[:12]}, but the champion belongs to "
                f"{pointer.base_sha256[:12]}; a verdict of the kind base comes first"
            )

    def _by_hand(self, pointer: DomainRegistry, kind: str, date: str, reason: str) -> EvolveVerdict:
        verdict = EvolveVerdict(
            number=pointer.last_verdict + 1,
            domain=pointer.domain,
            date=date,
            decided=datetime.now(UTC).isoformat(timespec="seconds"),
            status="rolled back" if kind in ("rollback", "to-base") else "kept",
            kind=kind,
            reason=reason or "by hand",
            base_sha256=pointer.base_sha256,
            champion=pointer.champion,
        )
        self.commit(verdict)
        return verdict


def rollback_command(domain: str, root: Path | str, *, to_base: bool = False) -> str:
    """The command line that rolls a domain's champion back, for messages."""
    return f"gristmill registry rollback {domain}{' --to-base' if to_base else ''} --out {root} --reason TEXT"


def _checked(domain: str) -> str:
    """A domain's name becomes a file's: raises InputError when it is none that a config could have."""
    if not DOMAIN.fullmatch(domain):
        raise InputError(f"{domain!r}: no name of a domain; a name has small letters, digits, _ and -")
    return domain


def _to_json(record: DomainRegistry | EvolveVerdict) -> str:
    return json.dumps(record.model_dump(mode="json"), indent=1, ensure_ascii=False)


def _read(path: Path, kind: type[Record], fix: str) -> Record:
    """A record from its file. Raises StoreError when it is missing, damaged, or of a newer version."""
    try:
        value = json.loads(path.read_text("utf-8"))
        if isinstance(value, dict) and isinstance(value.get("version"), int) and value["version"] > VERSION:
            raise StoreError(
                f"{path}: version {value['version']} is newer than this gristmill, which knows {VERSION}; update it"
            )
        return kind.model_validate(value)
    except FileNotFoundError:
        raise StoreError(f"{path}: missing; {fix}") from None
    except ValidationError as error:
        first = error.errors()[0]
        cause = f"{'.'.join(map(str, first['loc'])) or 'content'}: {first['msg']}"
    except (ValueError, RecursionError) as error:
        cause = str(error) or type(error).__name__
    except OSError as error:
        raise StoreError(f"{path}: cannot be read ({error.strerror}); fix its permissions") from None
    raise StoreError(f"{path}: damaged ({cause}); {fix}")

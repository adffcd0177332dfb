"""Loads YAML files and `--set a.b=c` into a checked, frozen `Config`, and computes its fingerprint."""

import difflib
import hashlib
import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, ValidationError

from configs.errors import ConfigError
from configs.renamed_keys import RENAMED_KEYS, rename_keys, renamed_path
from configs.schema import Config
from configs.schema.audit_rubric import AuditRubric
from configs.schema.policy import Policy
from configs.schema.serving import KeyFile, ServingPolicy
from configs.schema.training import Training
from configs.yaml_text import YamlLoader, parse_yaml, read_yaml

HERE = Path(__file__).parent
_Model = TypeVar("_Model", bound=BaseModel)
FINGERPRINT_VERSION = 1  # raise it if equal configurations must not count as equal any more


def load(path: str, overrides: Sequence[str] = ()) -> Config:
    """Loads a configuration.

    `domains: [law]` reads `domains/law.yaml`, and a task that a domain names but the file does not have is read from
    `tasks/<name>.yaml`: from the configuration's own folder, or else from this package.

    Args:
        path: a YAML file, or the name of a preset in `presets/`.
        overrides: values of `--set`, such as `generate.shard_rows=64`.

    Raises ConfigError naming the file and the key.
    """
    file = _find(path)
    raw = read_yaml(file)
    rename_keys(raw, file.name)
    folders = [file.parent, HERE]
    if "domains" in raw:
        raw["domains"] = _domains(raw["domains"], {}, folders)
    # twice: an override may name a task, whose file is then read, or change a task that was read
    _override(raw, overrides, strict=False, folders=folders)
    tasks, domains = raw.setdefault("tasks", {}), raw.get("domains")
    for domain in domains.values() if isinstance(domains, dict) else ():
        for name in (domain or {}).get("tasks") or () if isinstance(domain, dict) else ():
            if isinstance(tasks, dict) and isinstance(name, str) and name not in tasks:
                tasks[name] = _part(folders, "tasks", name)
    for name, task in tasks.items() if isinstance(tasks, dict) else ():
        if isinstance(task, dict):
            task.setdefault("name", name)
    _override(raw, overrides, strict=True, folders=folders)
    rename_keys(raw, "--set")  # an override may have replaced a whole section
    config = _checked(Config, raw, file.name)
    _check_urls(config)
    return config


def _check_urls(config: Config) -> None:
    """Refuses user names and passwords in URLs: configs are saved in run folders, and paths appear in lineage."""
    urls = {"publish": config.publish.to if config.publish else ""}
    for backend, options in config.generator.options().items():
        urls |= {f"generator.{backend}.{key}": value for key, value in options if isinstance(value, str)}
    for name, domain in config.domains.items():
        urls |= {f"domains.{name}.seeds[{n}].path": source.path or "" for n, source in enumerate(domain.seeds)}
    for where, url in urls.items():
        if re.search(r"://[^/?#\s]*@", url):
            fix = (
                "put it into the variable of api_key_env"
                if where.startswith("generator")
                else "use fsspec's configuration"
            )
            raise ConfigError(
                f"{where}: the URL contains a user name or password, which would be saved in run folders and logs; "
                f"remove it and {fix} (docs/security.md)"
            )


def load_training(path: str, overrides: Sequence[str] = ()) -> Training:
    """Loads a training configuration: a YAML file, or the name of a preset in `train/`. Raises ConfigError."""
    file = _find(path, HERE / "train")
    raw = read_yaml(file)
    _override(raw, overrides, strict=True)
    return _checked(Training, raw, file.name)


def size_of(preset: str) -> dict[str, Any]:
    """The fields of a model size in catalogue/sizes.yaml."""
    return read_yaml(HERE / "catalogue" / "sizes.yaml")[preset]


def load_policy(path: str) -> Policy:
    """Loads the safety policy at `path`, or the shipped one if `path` is empty. Raises ConfigError naming the file."""
    file = Path(path).expanduser() if path else HERE / "policies" / "safety.yaml"
    return _checked(Policy, read_yaml(file), file.name)


def load_audit_rubric() -> AuditRubric:
    """Loads the rubric of audits, policies/audit.yaml. Raises ConfigError when the file was edited into a wrong one."""
    file = HERE / "policies" / "audit.yaml"
    return _checked(AuditRubric, read_yaml(file), file.name)


def load_serving_policy(path: str) -> ServingPolicy:
    """Loads the policy file of a server, or the shipped one if `path` is empty. Raises ConfigError naming the file."""
    file = Path(path).expanduser() if path else HERE / "policies" / "serving.yaml"
    return _checked(ServingPolicy, read_yaml(file), file.name)


def parse_key_file(text: str, name: str) -> KeyFile:
    """Reads the text of a key file. Raises ConfigError naming the file, without any key."""
    return _checked(KeyFile, parse_yaml(text, name, quote=False), name, quote=False)


def dump(config: Config | Training) -> str:
    """The complete configuration as YAML that `load` accepts."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True, width=100)


def identity(config: Config) -> dict[str, Any]:
    """The part of a configuration that rows depend on: without paths, prices, speed and secrets. It is hashed."""
    exclude = {"name", "out", "publish", "run", "price", "drift", "metrics", "generator", "evolve"}
    # renamed keys keep the names first hashed
    body = config.model_dump(mode="json", exclude=exclude, by_alias=True) | {"generator": config.generator.identity()}
    used = {task for domain in config.domains.values() for task in domain.tasks}
    body["tasks"] = {name: task for name, task in body["tasks"].items() if name in used}
    for domain in body["domains"].values():
        for source in domain["seeds"]:
            source["path"] = source["path"] and "path"
    # the hashes of weights, heads and policies are in the fingerprint too; their paths do not matter
    if body["screen"]["encoder"]:
        body["screen"]["encoder"] = {**body["screen"]["encoder"], "model": "model", "sha256": None, "adapter": None}
    for spec in body["screen"]["filters"]:
        spec.pop("head", None)
        spec.pop("policy", None)
    return body


def changed_keys(before: Config, after: Config) -> list[str]:
    """The keys in which two configurations ask for different rows, under their present names, sorted."""
    return sorted(RENAMED_KEYS.get(key, key) for key in _differing(identity(before), identity(after)))


def _differing(before: Any, after: Any, path: str = "") -> list[str]:
    if isinstance(before, dict) and isinstance(after, dict):
        keys = dict.fromkeys([*before, *after])
        return [
            line
            for key in keys
            for line in _differing(before.get(key), after.get(key), f"{path}.{key}" if path else str(key))
        ]
    return [] if before == after else [path]


def fingerprint(config: Config, *models: Any) -> str:
    """16 hex digits over `identity`, and the hashes of the models and files that the run uses."""
    return digest({"version": FINGERPRINT_VERSION, "config": identity(config), "models": models})


def digest(value: Any) -> str:
    """16 hex digits of SHA-256 over canonical JSON."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def _find(path: str, folder: Path = HERE / "presets") -> Path:
    for file in (Path(path).expanduser(), folder / path, folder / f"{path}.yaml"):
        if file.is_file():
            return file
    presets = ", ".join(sorted(p.stem for p in folder.glob("*.yaml")))
    raise ConfigError(f"--config: no such file {path!r}; presets: {presets}")


def _part(folders: Iterable[Path], kind: str, name: str) -> dict[str, Any]:
    for file in [folder / kind / f"{name}.yaml" for folder in folders]:
        if file.is_file():
            return read_yaml(file)
    known = sorted({file.stem for folder in folders for file in (folder / kind).glob("*.yaml")})
    raise ConfigError(f"{kind}: no {name!r}{_nearest(name, known)}; there are {', '.join(known)}")


def _domains(value: Any, known: Any, folders: Iterable[Path]) -> Any:
    """A list of domains' names as domains by name: those that are known, else from `domains/<name>.yaml`."""
    if not isinstance(value, list):
        return value
    known = known if isinstance(known, dict) else {}
    return {name: known[name] if name in known else _part(folders, "domains", name) for name in map(str, value)}


def _override(
    raw: dict[str, Any], overrides: Sequence[str], *, strict: bool, folders: Sequence[Path] | None = None
) -> None:
    """Changes what was read. `folders`: where files of domains are, for a configuration that has domains."""
    for text in overrides:
        path, equals, value = text.partition("=")
        if not equals or not path:
            raise ConfigError(f"--set {text!r}: write --set a.b=c")
        try:
            parsed = yaml.load(value, YamlLoader)
        except yaml.YAMLError:
            raise ConfigError(f"--set {text!r}: {value!r} is not a YAML value") from None
        target: Any = raw
        path = renamed_path(path)
        if path == "domains" and folders:
            parsed = _domains(parsed, raw.get("domains"), folders)
        keys = path.split(".")
        for position, key in enumerate(keys):
            last = position == len(keys) - 1
            if isinstance(target, list):
                if not key.isdigit() or int(key) >= len(target):
                    if strict:
                        raise ConfigError(f"--set {path}: {'.'.join(keys[:position])} has no item {key}")
                    break
                if last:
                    target[int(key)] = parsed
                target = target[int(key)]
            elif isinstance(target, dict):
                if last:
                    target[key] = parsed
                elif not strict and key not in target:
                    break
                target = target.setdefault(key, {}) if not last else target
            elif strict:
                raise ConfigError(f"--set {path}: {'.'.join(keys[:position])} is a value, not a section")


def _checked(kind: type[_Model], raw: dict[str, Any], name: str, *, quote: bool = True) -> _Model:
    try:
        return kind.model_validate(raw)
    except ValidationError as error:
        raise ConfigError("\n".join(f"{name}: {line}" for line in _explain(error, kind, quote=quote))) from None


def _explain(error: ValidationError, root: type[BaseModel] = Config, *, quote: bool = True) -> list[str]:
    """A line for each error; with `quote`, wrong values are in it."""
    lines = []
    for item in error.errors():
        path = ""
        for part in item["loc"]:
            if part == "[key]":
                continue
            path += f"[{part}]" if isinstance(part, int) else f".{part}" if path else str(part)
        message = item["msg"].removeprefix("Value error, ")
        if item["type"] == "extra_forbidden":
            known = _fields_at(item["loc"][:-1], root)
            message = f"unknown key{_nearest(str(item['loc'][-1]), known)}; there are {', '.join(known)}"
        elif item["type"] == "missing":
            message = "missing"
        else:
            is_short = isinstance(item["input"], str | int | float | bool)
            message += f" (found {item['input']!r})" if quote and is_short else ""
        lines.append(f"{path}: {message}" if path else message)
    return lines


def _fields_at(location: Sequence[int | str], root: type[BaseModel]) -> list[str]:
    """The keys of the section at `location`."""
    section: Any = root
    for part in location:
        if isinstance(section, type) and issubclass(section, BaseModel):
            section = section.model_fields[str(part)].annotation
        else:
            section = next((a for a in reversed(get_args(section)) if a is not Ellipsis), section)
        while not isinstance(section, type) and type(None) in get_args(section):
            section = get_args(section)[0]
    return list(section.model_fields) if isinstance(section, type) and issubclass(section, BaseModel) else []


def _nearest(name: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(name, known, 1)
    return f", did you mean {close[0]!r}?" if close else ""

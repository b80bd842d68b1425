"""Names: what MLflow accepts, what becomes of others, and what a recorded path calls its last part."""

from __future__ import annotations

import hashlib
import os
import posixpath
import re
import unicodedata
from collections.abc import Iterable, Mapping

MAX_KEY = 250
MAX_PARAM_VALUE = 6000
MAX_TAG_VALUE = 8000
MAX_EXPERIMENT_NAME = 500
MAX_RUN_NAME = 250

MAX_NAME_BYTES = 240  # of the 255 of a file system; a download adds a suffix
MAX_PATH_BYTES = 700  # of the 1,024 of an S3 key, which begins with the place of the run

# What a URL, its parsing or its decoding loses of a name: some characters anywhere, and a `=` that would look like an
# escape of artifact_path; a blank, a scheme or the mark of an MLflow upload at the start; a blank or `;` at the end.
# Source: tried with MLflow 3.17 on a local disk, through a server and in S3; validate_path_is_safe of its utils/uri.py.
_LOST = re.compile(
    r"[\x00-\x1f\x7f#?%\\\ud800-\udfff]|=(?=[0-9A-F]{2})"
    r"|^(?:[ =]|[A-Za-z][A-Za-z0-9+.-]*:|\.(?=artifact\.uploading\.))|[ ;]$"
)
SAYS_NOTHING = {"data", "dataset", "config", "custom", "", ".", "..", "~"}
_OWN_CHECKPOINT = re.compile(r"last|best|epoch\d+")
_REFUSED = re.compile(r"[^/\w.\- :]" if os.name != "nt" else r"[^/\w.\- ]")


def storable(text: str) -> str:
    """Return the text without half characters, as a file name in another encoding than this host's has them.

    UTF-8 that a locale without it took apart is put together again, so that a name is the same in every locale.
    """
    try:
        return text.encode(errors="surrogateescape").decode()
    except UnicodeError:
        return text.encode(errors="backslashreplace").decode()


def last_part(path: str) -> str:
    """Return the name that a path ends in; it may have been recorded on another operating system."""
    return path.replace("\\", "/").rstrip("/").rsplit("/", 1)[-1]


def stem(value: object) -> str:
    """Return the last part of a recorded path or URL without query and suffix: yolov8n of models/yolov8n.pt."""
    name = last_part(_without_query(value)) if isinstance(value, str) else ""
    start, _, suffix = name.rpartition(".")
    return start if start and suffix in ("pt", "yaml", "yml", "ndjson") else name


def dataset_name(data: object) -> str:
    """Return the name of the dataset in `data`, which may be written out; an empty text without one.

    A stem that says nothing gives way to the nearest folder that does: fire-8 of fire-8/data.yaml.
    """
    place = (data.get("path") or "data") if isinstance(data, Mapping) else data
    name = stem(place)
    if not name:
        return ""
    path = re.sub(r"^\w+://[^/]*|^[A-Za-z]:", "", _without_query(str(place)))
    folders = re.split(r"[\\/]", path.rstrip("/\\"))[-2::-1]
    telling = (part for part in (name, *folders) if not SAYS_NOTHING.issuperset(re.split("[-_ ]", part.casefold())))
    return next(telling, name)


def _without_query(path: str) -> str:
    return re.split("[?#]", path, maxsplit=1)[0] if "://" in path else path


def model_name(args: Mapping[str, object]) -> str:
    """Return the model that a training began with, an empty text where its args do not name one.

    A checkpoint of a training, such as the last.pt of a resume, has not the name of a model.
    """
    names = (stem(args.get(key)) for key in ("model", "weights", "cfg", "pretrained"))
    return next((name for name in names if name and not _OWN_CHECKPOINT.fullmatch(name)), "")


def accepted_key(key: str) -> str:
    """Return the key as MLflow accepts it: refused characters become `_`, and it names no other path than itself.

    Source: mlflow/utils/validation.py, validate_param_and_metric_name, path_not_unique, 3.7 to 3.17.
    """
    key = _REFUSED.sub("_", key)[:MAX_KEY]
    if key in ("", "."):
        return "_"
    if posixpath.normpath(key) != key or key.startswith(("..", "/")):
        key = "/".join(part for part in key.split("/") if part not in ("", ".", "..")) or "_"
    return key


def artifact_path(path: str) -> str:
    """Return the path under which every artifact store holds a file: as it is, but for bytes that some store loses.

    Such a byte becomes `=HH`, as does a `=` that would look like one, so that no two paths become one and each can be
    read back. `==` precedes a name that its folder has, too, for a server does not list the only file of such a folder.
    A name that is too long for a store is cut, and ends in a digest of the whole.
    """
    try:
        path = path.encode(errors="surrogateescape").decode(errors="surrogateescape")  # as storable does
    except UnicodeError:
        path = storable(path)
    names: list[str] = []
    for part in path.split("/"):
        name = _cut(_LOST.sub(lambda found: found[0][:-1] + _escaped(found[0][-1]), part))
        names.append(f"=={name}" if names and names[-1] == name else name)
    joined = "/".join(names)
    return joined if len(joined.encode()) <= MAX_PATH_BYTES else f"{names[0]}/{_cut(joined.replace('/', '=2F'))}"


def artifact_paths(paths: Iterable[str]) -> dict[str, str]:
    """Return the paths under which any store holds files side by side.

    Of paths that only differ in case or in the form of an accent, which some disks take for one, the first by code
    points stays; of the others the name is escaped whole, up to its suffix.
    """
    names: dict[str, str] = {}
    taken: set[str] = set()
    for path in sorted(paths):
        names[path] = artifact_path(path)
        folded = unicodedata.normalize("NFC", names[path]).casefold()
        if folded in taken:
            start, dot, suffix = last_part(names[path]).rpartition(".")
            name = _escaped(start or suffix) + (dot + suffix if start else "")
            names[path] = names[path][: -len(last_part(names[path]))] + _cut(name)
        taken.add(folded)
    return names


def _escaped(character: str) -> str:
    return "".join(f"={byte:02X}" for byte in character.encode(errors="surrogateescape"))


def _cut(name: str) -> str:
    if len(name.encode()) <= MAX_NAME_BYTES:
        return name
    suffix = re.search(r"\.\w{1,8}$", name, re.ASCII)
    digest = hashlib.sha256(name.encode()).hexdigest()[:32].upper()
    return f"{name.encode()[:160].decode(errors='ignore')}={digest}{suffix[0] if suffix else ''}"

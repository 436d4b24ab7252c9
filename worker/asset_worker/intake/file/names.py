"""The names to which a followed file may have been renamed or copied: pure."""

from __future__ import annotations

import glob
import re
from fnmatch import translate
from pathlib import Path
from typing import Final

ROTATED: Final = ("NAME.*[0-9]*", "NAME.old", "NAME-DATE*", "STEM-DATE*SUFFIX", "STEM.[0-9]*SUFFIX")
"""The globs that recognise the usual names of rotated files; see `rotated_names`."""
COMPRESSED: Final = frozenset(
    {".gz", ".bz2", ".xz", ".zst", ".lz", ".lz4", ".lzma", ".lzo", ".z", ".br", ".zip", ".7z", ".tgz"}
)
"""The suffixes, in lower case, of compressed files."""

_DATE: Final = "[0-9]" * 8
_WORD: Final = re.compile("NAME|STEM|SUFFIX|DATE")
_NOTHING: Final = re.compile(r"(?!)")


def checked_glob(value: str) -> str:
    """Return a glob for `rotated_names`.

    Raises:
        ValueError: it can match no file beside the queue file. The message says why.
    """
    if not value:
        raise ValueError("a glob must not be empty")
    if "/" in value:
        raise ValueError("a glob names files beside the queue file, so it must not contain '/'")
    return value


def rotated_names(path: Path, globs: tuple[str, ...]) -> re.Pattern[str]:
    """Return the pattern of the names that rotation gives to the file at `path`, for `fullmatch`.

    In a glob, NAME stands for the file's name, STEM and SUFFIX for its parts before and from the last dot on, and DATE
    for eight digits.
    """
    words = {"NAME": path.name, "STEM": path.stem, "SUFFIX": path.suffix}
    values = {word: glob.escape(value) for word, value in words.items()} | {"DATE": _DATE}
    patterns = [translate(_WORD.sub(lambda word: values[word[0]], each)) for each in globs]
    return re.compile("|".join(patterns)) if patterns else _NOTHING


def is_compressed(name: str) -> bool:
    """Return whether a name is that of a compressed file."""
    return Path(name).suffix.lower() in COMPRESSED

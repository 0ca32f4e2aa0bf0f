"""docs/licences.md names every package of the lock, with the licence that it has."""

import re
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path

ROOT = Path(__file__).parents[2]
LOOKED_AT = {
    "0BSD",
    "Apache-2.0",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "ISC",
    "LGPL-3.0-only",
    "LLVM-exception",
    "MIT",
    "MIT-0",
    "MIT-CMU",
    "MPL-2.0",
    "PSF-2.0",
    "Zlib",
}
"""Licences whose terms are kept, as the page says."""
_FAMILIES = ("Apache", "BSD", "ISC", "LGPL", "MIT", "MPL", "PSF")
_OTHER_WORDS = {
    "GNU Lesser General Public License": "LGPL",
    "Mozilla Public License": "MPL",
    "Python Software Foundation": "PSF",
    "Copyright (c) 2015, matplotlib project": "BSD",
    "License agreement for matplotlib": "PSF",
}


def normal(name):
    return re.sub(r"[-_.]+", "-", name).lower()


def listed():
    """The licence of each package, by the page."""
    text = (ROOT / "docs" / "licences.md").read_text(encoding="utf-8")
    table = text.partition("| licence | packages |")[2].partition("\n\n")[0]
    rows = [row.strip("|").split("|") for row in table.splitlines()[2:]]
    return {
        normal(name.strip()): licence.strip()
        for licence, names in rows
        for name in names.split(",")
    }


def locked():
    """The packages of the lock."""
    lines = (ROOT / "requirements.lock").read_text(encoding="utf-8").splitlines()
    return {normal(line.partition("==")[0]) for line in lines if line and line[0] != "#"}


def families(text):
    """The families of licences that a text speaks of."""
    for words, family in _OTHER_WORDS.items():
        text = text.replace(words, family)
    return {family for family in _FAMILIES if family in text}


def test_every_package_of_the_lock_is_named_and_no_other():
    assert listed().keys() == locked()


def test_no_licence_is_new_to_us():
    words = {word for licence in listed().values() for word in re.split(r"[\s()]+", licence)}
    assert words - {"AND", "OR", "WITH", ""} <= LOOKED_AT


def test_every_package_has_the_licence_that_is_said():
    compared = [is_so(package, licence) for package, licence in listed().items()]
    assert len(list(filter(None, compared))) > 80


def is_so(package, licence):
    """Whether a package could be asked; it then has that licence."""
    try:
        said = metadata(package)
    except PackageNotFoundError:
        # It is for another Python than this one.
        return False
    if expression := said.get_all("License-Expression"):
        assert [licence] == expression, package
        return True
    classifiers = [one for one in said.get_all("Classifier") or () if one.startswith("License")]
    # Of a whole text the first lines name it.
    own = "\n".join([*"".join(said.get_all("License") or ()).splitlines()[:10], *classifiers])
    assert families(own) & families(licence), f"{package} says {own!r}"
    return True

"""What docs/design.md says of the arrows between the parts of the library."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import peerlearn as pl
from peerlearn import randomness

ROOT = Path(pl.__file__).parent
NEVER = {
    "algorithms": {"engines", "learners", "tasks"},
    "data": {"algorithms", "engines", "learners", "tasks"},
    "engines": {"algorithms", "data", "learners", "tasks"},
    "environments": {"algorithms", "data", "engines", "learners", "tasks"},
    "graphs": {"algorithms", "data", "engines", "learners", "tasks"},
    "learners": {"algorithms", "engines"},
    "mapping": {"algorithms", "data", "engines", "graphs", "learners", "tasks"},
}
"""part -> the parts that it knows nothing of."""


def imported(path: Path) -> Iterator[str]:
    """The modules that a file imports, by their full names."""
    package = ("peerlearn", *path.relative_to(ROOT).parts[:-1])
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        if isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join([*above, *([node.module] if node.module else [])])
            yield from (f"{module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("part", NEVER)
def test_arrows_point_one_way(part):
    files = list((ROOT / part).rglob("*.py"))
    assert files
    for path in files:
        parts = {name.split(".")[1] for name in imported(path) if name.startswith("peerlearn.")}
        assert not parts & NEVER[part], path


def test_no_two_purposes_of_random_numbers_are_alike():
    purposes = [v for name, v in vars(randomness).items() if name.isupper()]
    assert purposes
    assert len(purposes) == len({*purposes})

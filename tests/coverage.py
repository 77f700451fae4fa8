"""Prints how many lines of each layer, a folder or file directly below src/, the tests executed.

    python3 tests/coverage.py FILE      FILE is an lcov tracefile, as `cargo llvm-cov --lcov` writes it

Code that only tests compile does not count: what follows `#[cfg(test)]` at the left margin, and the files of modules that are
declared there.
"""

import re
import sys
from collections import defaultdict
from pathlib import Path

SRC = Path(__file__).resolve().parent.parent / "src"
TESTS = re.compile(r"^#\[cfg\(test\)\]\n(?:#\[.*\]\n)*(?:pub(?:\(\w+\))? )?mod (\w+)(;| \{)", re.MULTILINE)


def code_of_tests():
    """The files and folders that only tests compile, and the line from which on each other file is tests."""
    paths, begins = set(), {}
    for path in SRC.rglob("*.rs"):
        text = path.read_text()
        folder = path.parent if path.stem in ("mod", "lib", "main") else path.with_suffix("")
        for found in TESTS.finditer(text):
            if found[2] == ";":
                paths.update((folder / f"{found[1]}.rs", folder / found[1]))
            else:
                begins.setdefault(path, text.count("\n", 0, found.start()) + 1)
    return paths, begins


def main(tracefile):
    paths, begins = code_of_tests()
    lines, executed = defaultdict(int), defaultdict(int)
    layer = None
    for record in Path(tracefile).read_text().splitlines():
        kind, _, value = record.partition(":")
        if kind == "SF":
            path = Path(value)
            inside = path.is_relative_to(SRC) and not paths.intersection((path, *path.parents))
            layer = path.relative_to(SRC).parts[0].removesuffix(".rs") if inside else None
            last = begins.get(path, sys.maxsize)
        elif kind == "DA" and layer:
            number, count = value.split(",")[:2]
            if int(number) < last:
                lines[layer] += 1
                executed[layer] += count != "0"
    if not lines:
        sys.exit(f"{tracefile} names no file below {SRC}")
    print(f"{'layer':<14}{'lines':>8}{'executed':>10}{'share':>9}")
    rows = [(layer, lines[layer], executed[layer]) for layer in sorted(lines)]
    rows.append(("all", sum(lines.values()), sum(executed.values())))
    for layer, count, ran in rows:
        print(f"{layer:<14}{count:>8}{ran:>10}{ran / count:>9.1%}")


if __name__ == "__main__":
    main(sys.argv[1])

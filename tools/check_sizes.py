"""Small rooms: files of at most 400 lines, functions of at most 60, a README.md in every package folder.

Usage: python tools/check_sizes.py [FOLDER...]
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

FILE_LINES = 400
FUNCTION_LINES = 60


def check_file(path: Path) -> Iterator[str]:
    """Yield one complaint per limit that the file breaks."""
    text = path.read_text(encoding="utf-8")
    lines = len(text.splitlines())
    if lines > FILE_LINES:
        yield f"{path}: {lines} lines; at most {FILE_LINES}. Split it by concept."
    for node in ast.walk(ast.parse(text, filename=str(path))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            if length > FUNCTION_LINES:
                yield f"{path}:{node.lineno}: {node.name}() has {length} lines; at most {FUNCTION_LINES}."


def check_tree(root: Path) -> Iterator[str]:
    """Yield the complaints about every module and package folder below ``root``."""
    for path in sorted(root.rglob("*.py")):
        yield from check_file(path)
        if path.name == "__init__.py" and not (path.parent / "README.md").is_file() and path.parent != root:
            yield f"{path.parent}: no README.md (what lives here, who may import it, what it may import)."


def main(arguments: list[str]) -> int:
    """Print all complaints; return 1 if there is one."""
    complaints = [text for name in arguments or ["penstock"] for text in check_tree(Path(name))]
    for text in complaints:
        print(text)
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

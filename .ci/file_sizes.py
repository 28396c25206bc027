"""Holds the file budget: no Python file over 600 lines."""

import sys
from pathlib import Path

CAP = 600


def main(roots: list[str]) -> int:
    files = sorted({path.resolve() for root in roots for path in Path(root).rglob("*.py")})
    sizes = sorted(((len(path.read_text().splitlines()), path) for path in files), key=lambda pair: pair[0])
    if not sizes:
        print(f"no Python file under {' '.join(roots)}")
        return 1
    over = [f"{path.relative_to(Path.cwd())}: {lines} lines, at most {CAP}" for lines, path in sizes if lines > CAP]
    print("\n".join([*over, f"{len(sizes)} files, median {sizes[len(sizes) // 2][0]} lines, longest {sizes[-1][0]}"]))
    return 1 if over else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

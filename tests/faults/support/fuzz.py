"""`python -m tests.faults.support.fuzz TARGET [libFuzzer's options]`: coverage-guided where atheris is installed.

`-runs=N` inputs, `-seed=S`; corpora may be named, new inputs go into the first, or else are forgotten. Without
atheris (it has no wheel for every platform) the seeds in tests/data/fuzz are mutated blindly, `-runs` and `-seed`
being all there is.
"""

from __future__ import annotations

import random
import sys
from pathlib import Path
from tempfile import mkdtemp

from tests.paths import DATA

CORPUS = DATA / "fuzz"
MAX_LENGTH = 4096
LIBFUZZER = ("-timeout=20", "-rss_limit_mb=3072", f"-max_len={MAX_LENGTH}", "-print_final_stats=1")


def main(arguments: list[str]) -> None:
    name, *options = arguments
    seeds = CORPUS / name
    try:
        import atheris  # noqa: PLC0415  optional
    except ImportError:
        _blindly(name, seeds, options)
        return
    with atheris.instrument_imports(include=["spanbridge"]):
        from tests.faults.support import fuzz_targets  # noqa: PLC0415  instrumented as they are imported

    words = CORPUS / f"{name}.dict"
    dictionary = [f"-dict={words}"] if words.exists() else []
    corpora = [option for option in options if not option.startswith("-")] or [mkdtemp(prefix="fuzz-")]
    rest = [option for option in options if option.startswith("-")]
    atheris.Setup([sys.argv[0], *LIBFUZZER, *dictionary, *rest, *corpora, str(seeds)], fuzz_targets.TARGETS[name]())
    atheris.Fuzz()


def _blindly(name: str, seeds: Path, options: list[str]) -> None:
    from tests.faults.support import fuzz_targets  # noqa: PLC0415  see above

    given = dict(option.lstrip("-").split("=", 1) for option in options if option.startswith("-") and "=" in option)
    dice, check = random.Random(int(given.get("seed", 1))), fuzz_targets.TARGETS[name]()
    inputs = [path.read_bytes()[:MAX_LENGTH] for path in sorted(seeds.iterdir())]
    for data in inputs:
        check(data)
    for _ in range(int(given.get("runs", 100_000))):
        data = mutated(dice, dice.choice(inputs), dice.choice(inputs))
        try:
            check(data)
        except BaseException:
            sys.stderr.write(f"on {data!r}\n")
            raise


def mutated(dice: random.Random, data: bytes, other: bytes) -> bytes:
    """Some bytes changed, cut out, doubled, or taken from another input."""
    made = bytearray(data)
    for _ in range(dice.choice((1, 1, 2, 4, 8))):
        start = dice.randrange(len(made) + 1)
        end = min(len(made), start + dice.choice((1, 1, 2, 4, 16)))
        piece = dice.randrange(len(other) + 1)
        new = (dice.randbytes(end - start), b"", made[start:end] * 2, other[piece : piece + end - start])
        made[start:end] = dice.choice(new)
    return bytes(made[:MAX_LENGTH])


if __name__ == "__main__":
    main(sys.argv[1:])

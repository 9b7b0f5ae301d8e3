"""All benchmarks with their summaries: `python -m benchmarks`."""

import argparse
import sys

from benchmarks import detectors, replay


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="smaller workloads and fewer repeats")
    quick = parser.parse_args().quick
    kept = []
    for benchmark in (detectors, replay):
        kept.append(benchmark.run(quick))
        print()
    return 0 if all(kept) else 1


if __name__ == "__main__":
    sys.exit(main())

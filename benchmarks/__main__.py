"""All benchmarks with their summaries: `python -m benchmarks`."""

import argparse

from benchmarks import detectors, replay


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="smaller workloads and fewer repeats")
    quick = parser.parse_args().quick
    for benchmark in (detectors, replay):
        benchmark.run(quick)
        print()


if __name__ == "__main__":
    main()

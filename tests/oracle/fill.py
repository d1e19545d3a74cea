"""Computes the reference's results of a tier's cases that are not there yet: `python -m oracle.fill [TIER] [--workers N] [--record]`, in the reference's
environment.

They depend on nothing in Rust, so `run.py` does this while Rust is built. What is interrupted is computed by the tests that need it. Standard library only.
"""

import argparse
import re
import signal
import sys

from . import cache, cases
from .families import context_rcnn


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tier", nargs="?", default="default", choices=cases.TIERS)
    parser.add_argument("--workers", type=int, default=1, help="processes at a time, of about 1.5 GB each (default: 1)")
    parser.add_argument("--only", default="", help="a regular expression that names of cases match")
    parser.add_argument("--record", action="store_true", help="enter what was found by trying in found.json, which other runs then need not try")
    arguments = parser.parse_args()
    wanted = [case for case in cases.of_tier(arguments.tier) if re.search(arguments.only, case.name)]
    pool = cache.Pool(sys.executable, wanted, arguments.workers)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    failed = 0
    try:
        for case in wanted:
            try:
                pool.wait(case, seconds=24 * 3600)
            except RuntimeError as error:
                failed += 1
                print(error, flush=True)
    finally:
        pool.stop()
        if arguments.record:
            cache.record([*cases.all_cases(), *context_rcnn.cases()])
    print(f"{len(wanted) - failed} of {len(wanted)} cases of the tier {arguments.tier} have results")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()

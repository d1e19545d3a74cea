"""Which combinations of options are tested: a few rows for every run, and further ones for the exhaustive tier. Standard library only.

The few contain every value of every option, and go on until the pairs of values in them make up most of what real configs have, by the counts of
`usage.json`. With the further ones every possible pair of values is in some row, and every triple of the options that the code couples.
"""

import functools
import itertools
import math
import random
from dataclasses import dataclass
from typing import Callable, Dict, Optional, Tuple

from . import usage

USUAL = 0.9  # the share of real use, by pairs, at which the few rows are enough
SCALE = 2**40  # the weight of what every config has
CANDIDATES = 200  # random rows of which each row is the best


@dataclass(frozen=True, eq=False)
class Design:
    """Values of options, the more usual ones first, and how they belong together."""

    options: Dict[str, Tuple]
    text: Optional[Callable] = None  # the config of a row; without, all values count alike
    coupled: Tuple[Tuple[str, ...], ...] = ()  # options that one piece of code looks at together
    impossible: Tuple[Dict[str, object], ...] = ()  # values that the reference refuses or fails on together
    seed: int = 0

    def shares(self):
        """Returns {(option, index of its value): how often real configs have it, 0 to 1}."""
        found = {}
        for name, values in self.options.items():
            shares = usage.shares([self.text({name: value}) for value in values]) if self.text else [1 / len(values)] * len(values)
            found.update({(name, index): share for index, share in enumerate(shares)})
        return found

    def is_possible(self, places):
        """Returns whether values, {option: index}, can be in one row."""
        for together in self.impossible:
            if all(name in places and self.options[name][places[name]] == value for name, value in together.items()):
                return False
        return True

    def combinations(self, names):
        """Returns the possible combinations of values of some options, each a sorted tuple of (option, index)."""
        choices = ([(name, index) for index in range(len(self.options[name]))] for name in sorted(names))
        return {combination for combination in itertools.product(*choices) if self.is_possible(dict(combination))}

    def wanted(self):
        """Returns (values, pairs, triples): all combinations that the rows have to contain."""
        names = sorted(self.options)

        def every(groups):
            return {combination for group in groups for combination in self.combinations(group)}

        return every((name,) for name in names), every(itertools.combinations(names, 2)), every(self.coupled)

    def contained(self, places):
        """Returns the values, pairs and triples in a row, {option: index}."""
        groups = itertools.chain(((name,) for name in places), itertools.combinations(sorted(places), 2), map(sorted, self.coupled))
        return {tuple((name, places[name]) for name in group) for group in groups}

    @functools.lru_cache(maxsize=None)
    def places(self):
        """Returns (few, further): rows, {option: index}."""
        rng = random.Random(self.seed)
        values, pairs, triples = self.wanted()
        shares = self.shares()
        # Whole numbers: the sum of some is the same in whichever order a set has them.
        weights = {combination: round(SCALE * math.prod(shares[place] for place in combination)) for combination in values | pairs | triples}
        # Values that no row has yet come before all else.
        weights.update({value: SCALE + len(self.options) ** 2 * (SCALE - weights[value]) for value in values})

        few, missing = [], values | pairs | triples
        usual = sum(weights[pair] for pair in pairs)
        while missing & values or sum(weights[pair] for pair in pairs & missing) > (1 - USUAL) * usual:
            row = self.best(rng, missing & values or missing, lambda found: sum(weights[each] for each in found & missing))
            few.append(row)
            missing -= self.contained(row)
        further = []
        while missing:
            row = self.best(rng, missing, lambda found: len(found & missing))
            further.append(row)
            missing -= self.contained(row)
        return few, further

    def best(self, rng, starts, worth):
        """Returns the row that is worth most of some random ones, each of which contains one of the combinations to start from."""
        starts = sorted(starts)
        best, most = None, -1
        while best is None:
            for _ in range(CANDIDATES):
                row = {name: rng.randrange(len(self.options[name])) for name in sorted(self.options)}
                row.update(rng.choice(starts))
                if self.is_possible(row):
                    found = worth(self.contained(row))
                    if found > most:
                        best, most = row, found
        return best

    def rows(self):
        """Returns [(row, tier)]: rows, {option: value}, of the default tier first, then those of the exhaustive one."""
        few, further = self.places()
        tiers = ["default"] * len(few) + ["exhaustive"] * len(further)
        return [({name: self.options[name][index] for name, index in row.items()}, tier) for row, tier in zip(few + further, tiers)]

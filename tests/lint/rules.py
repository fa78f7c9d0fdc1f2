# SPDX-License-Identifier: Apache-2.0
"""rules - the list of rules, and what a rule is

A rule is a function of a Tree that yields one CHECKED for each thing it looked at and one Problem
for each thing it dislikes. A rule that looked at nothing has failed: it would pass on an empty
repository.
"""
from dataclasses import dataclass

CHECKED = object()
RULES = {}


@dataclass
class Problem:
    path: str
    line: int
    text: str

    def __str__(self):
        return f"{self.path}:{self.line}: {self.text}"


def rule(promise):
    """Registers a rule under its function's name, with dashes."""
    def register(function):
        RULES[function.__name__.replace("_", "-")] = (promise, function)
        return function
    return register


def apply(name, tree):
    """(number of things checked, problems)"""
    checked, problems = 0, []
    for found in RULES[name][1](tree):
        if found is CHECKED:
            checked += 1
        else:
            problems.append(found)
    return checked, problems

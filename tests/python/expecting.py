"""What the checks of real runs share: things that must hold, each told as it is looked at; none hides another."""

import sys

problems = []


def expect(holds, words):
    """Tells whether it holds, and remembers what does not."""
    print(f"{'ok' if holds else 'NOT SO'}: {words}")
    if not holds:
        problems.append(words)


def finish():
    """Ends the program: with 1 when something does not hold, all of which is told again."""
    for words in problems:
        print(f"not so: {words}", file=sys.stderr)
    sys.exit(1 if problems else 0)

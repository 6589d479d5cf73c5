"""Stamps in plain Python, by their definition; it imports nothing of ours."""

from __future__ import annotations

from itertools import groupby

Stamp = tuple[int, int, int]


def following(stamp: Stamp, outcomes: list[int]) -> Stamp:
    """The stamp of the next moment: a bit string, at most 62 outcomes behind its mark."""
    recent, n, n_right = stamp
    bits = bin(recent)[3:] + "".join(map(str, outcomes))
    return int("1" + bits[-62:], 2), n + len(outcomes), n_right + sum(outcomes)


def stamps_of_user(rows: list[tuple[object, object, int]]) -> list[Stamp]:
    """Of each (moment, attempt, correct) of one user, given in order of moment and id."""
    stamp: Stamp = (1, 0, 0)
    found = []
    for _, of_moment in groupby(rows, key=lambda row: row[0]):
        members = list(of_moment)
        found += [stamp] * len(members)
        outcomes: dict[object, int] = {}
        for _, attempt, correct in members:
            outcomes.setdefault(attempt, correct)
        stamp = following(stamp, list(outcomes.values()))
    return found

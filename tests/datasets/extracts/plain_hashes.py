"""The border's hashes in plain Python: the oracle of what digests and folds stand on."""

from __future__ import annotations

MASK = (1 << 64) - 1
K0, K1, K2 = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB


def mixed(state: int, word: int) -> int:
    state = (state ^ word) * K1 & MASK
    return state ^ (state >> 32)


def finished(state: int) -> int:
    state = (state ^ (state >> 30)) * K1 & MASK
    state = (state ^ (state >> 27)) * K2 & MASK
    return state ^ (state >> 31)


def plain_hash(data: bytes) -> int:
    """The hash of an id: words of eight bytes, the rest, the length."""
    whole = len(data) // 8 * 8
    state = K0
    for i in range(0, whole, 8):
        state = mixed(state, int.from_bytes(data[i : i + 8], "little"))
    state = mixed(state, int.from_bytes(data[whole:], "little"))
    return finished(state ^ len(data))


def plain_row_hash(concept: str, user: str, row_id: int, time_us: int, correct: int) -> int:
    """The hash of one attempt."""
    state = mixed(plain_hash(concept.encode()), plain_hash(user.encode()))
    state = mixed(mixed(state, row_id), time_us)
    return finished((state + correct) & MASK)

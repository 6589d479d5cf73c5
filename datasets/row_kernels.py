"""Every compiled function of the border: ids to codes, rows to buckets, buckets to order.

One pass over Arrow buffers does what a frame library does in five; docs/decisions says what it
saves. Numba's disk cache watches only the file of the cached function, so all live here, and
nothing here comes from the model's kernels. Hashes are stable for ever: digests and folds
are kept, and tests hold them to frozen values.
Slices are copied by loops: assigning one compiles NumPy's error messages, for seconds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar, cast

import numba
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

F = TypeVar("F", bound="Callable[..., Any]")
T = TypeVar("T", bound=np.generic)


def kernel(function: F) -> F:
    """Compile once per signature, cached on disk, without the interpreter lock."""
    return cast("F", numba.njit(cache=True, nogil=True, error_model="numpy")(function))


def inlined(function: F) -> F:
    """A step that only kernels call."""
    return cast("F", numba.njit(error_model="numpy")(function))


def read_only(array: NDArray[T]) -> NDArray[T]:
    """The same array, not to be written to: what goes into kernels is of one kind.

    Arrow's columns cannot be written to, ours can; for both, each kernel is compiled twice.
    """
    view = array.view()
    view.flags.writeable = False
    return view


#: Codes of `contracts.LOG_RULES`.
ACCEPTED, NO_USER, LONG_USER, NO_CONCEPT, LONG_CONCEPT = 0, 1, 2, 3, 4
NOT_0_OR_1, NO_TIME, BEFORE_1970, IN_FUTURE, ERASED = 5, 6, 7, 8, 9

#: Of an id: fine, beyond the limits, or of an erased user.
FITS, UNFIT, BARRED = 0, 1, 2

#: A time that is none: null, unreadable, or infinite.
NO_MOMENT = np.iinfo(np.int64).min
#: PostgreSQL's infinities wrap to about -9.2e18 microseconds; no real time lies below this.
_INFINITE_BELOW = -9_000_000_000_000_000_000

_K0 = np.uint64(0x9E3779B97F4A7C15)
_K1 = np.uint64(0xBF58476D1CE4E5B9)
_K2 = np.uint64(0x94D049BB133111EB)
_U8 = np.uint64(8)
_U27, _U30, _U31, _U32 = np.uint64(27), np.uint64(30), np.uint64(31), np.uint64(32)

_MAX_CHARACTERS = 255
_MAX_BYTES = 1000
_RADIX_BITS = 11
#: Numbers that are no literals: for a literal a kernel is compiled once more.
_ZERO, _ONE = cast("int", np.int64(0)), cast("int", np.int64(1))
_TWO_DIGITS, _FOUR_DIGITS = cast("int", np.int64(2)), cast("int", np.int64(4))
_SIX_DIGITS = cast("int", np.int64(6))
_FEW = 24


class TextColumn(NamedTuple):
    """A text column of an Arrow batch: its own buffers, not a copy."""

    offsets: NDArray[np.int32]  # (n + 1,)
    data: NDArray[np.uint8]
    #: One bit per row, set where a value is; empty: every row has one.
    validity: NDArray[np.uint8]
    first_bit: int


class Dictionary(NamedTuple):
    """Ids seen so far, in the order seen: an open-addressing table with exact comparison."""

    slots: NDArray[np.int32]  # a power of two of them, -1 where empty
    hashes: NDArray[np.uint64]  # by code
    starts: NDArray[np.int64]  # by code; the id is arena[starts[code]:starts[code + 1]]
    arena: NDArray[np.uint8]
    status: NDArray[np.uint8]  # by code: FITS, UNFIT or BARRED
    size: NDArray[np.int64]  # (1,), ids so far


class RowBatch(NamedTuple):
    """The columns of one batch that are no text; times are microseconds, NO_MOMENT if none."""

    ids: NDArray[np.int64]
    times: NDArray[np.int64]
    correct: NDArray[np.int64]  # anything but 0 and 1 breaks a rule


class Buckets(NamedTuple):
    """Rows waiting for the disk, three words each.

    Code of concept << 32 | code of user << 1 | correct; id; time.
    """

    rows: NDArray[np.int64]  # (n_buckets, capacity, 3)
    filled: NDArray[np.int64]  # (n_buckets,)


class Tally(NamedTuple):
    """What is known of each concept and user after the first pass, by code."""

    digests: NDArray[np.uint64]  # wrapping sum of the concept's row hashes
    counts: NDArray[np.int64]  # the concept's rows
    active: NDArray[np.bool_]  # whether the user has a good row


class ConceptFacts(NamedTuple):
    """What the second pass finds out about each concept, by rank."""

    n_users: NDArray[np.int64]
    n_correct: NDArray[np.int64]
    first_at: NDArray[np.int64]
    last_at: NDArray[np.int64]


@inlined
def _mixed(state: np.uint64, word: np.uint64) -> np.uint64:
    state = (state ^ word) * _K1
    return state ^ (state >> _U32)


@inlined
def _finished(state: np.uint64) -> np.uint64:
    """The finaliser of splitmix64 (Steele, Lea & Flood 2014)."""
    state = (state ^ (state >> _U30)) * _K1
    state = (state ^ (state >> _U27)) * _K2
    return state ^ (state >> _U31)


@kernel
def hash_bytes(data: NDArray[np.uint8], start: int, stop: int) -> np.uint64:
    """A stable 64-bit hash of bytes: little-endian words of eight, then the length."""
    state = _K0
    at = np.uint64(start)
    end = np.uint64(stop)
    while at + _U8 <= end:
        word = np.uint64(0)
        for i in range(8):
            word |= np.uint64(data[at + np.uint64(i)]) << np.uint64(8 * i)
        state = _mixed(state, word)
        at += _U8
    word = np.uint64(0)
    shift = np.uint64(0)
    while at < end:
        word |= np.uint64(data[at]) << shift
        shift += _U8
        at += np.uint64(1)
    state = _mixed(state, word)
    return _finished(state ^ np.uint64(stop - start))


@kernel
def hash_texts(column: TextColumn, out: NDArray[np.uint64]) -> None:
    """The stable hash of each text of a column without nulls, into `out` (n,)."""
    for row in range(out.size):
        out[row] = hash_bytes(column.data, column.offsets[row], column.offsets[row + 1])


@inlined
def row_hash(
    concept_hash: np.uint64, user_hash: np.uint64, row_id: int, time: int, correct: int
) -> np.uint64:
    """A stable 64-bit hash of one attempt."""
    state = _mixed(concept_hash, user_hash)
    state = _mixed(state, np.uint64(row_id))
    state = _mixed(state, np.uint64(time))
    return _finished(state + np.uint64(correct))


@kernel
def id_fits(data: NDArray[np.uint8], start: int, stop: int) -> bool:
    """Whether bytes are UTF-8 without NUL and surrogates, within the limits of an id."""
    if stop - start > _MAX_BYTES:
        return False
    characters = 0
    at = start
    while at < stop:
        lead = data[at]
        if lead == 0:
            return False
        if lead < 0x80:
            more, low, high = 0, 0x80, 0xBF
        elif 0xC2 <= lead <= 0xDF:
            more, low, high = 1, 0x80, 0xBF
        elif 0xE0 <= lead <= 0xEF:
            more = 2
            low = 0xA0 if lead == 0xE0 else 0x80
            high = 0x9F if lead == 0xED else 0xBF
        elif 0xF0 <= lead <= 0xF4:
            more = 3
            low = 0x90 if lead == 0xF0 else 0x80
            high = 0x8F if lead == 0xF4 else 0xBF
        else:
            return False
        if at + more >= stop:
            return False
        for i in range(1, more + 1):
            if not low <= data[at + i] <= high:
                return False
            low, high = 0x80, 0xBF
        at += more + 1
        characters += 1
    return characters <= _MAX_CHARACTERS


@inlined
def _is_null(validity: NDArray[np.uint8], bit: int) -> bool:
    return validity.size > 0 and not (validity[bit >> 3] >> np.uint8(bit & 7)) & 1


@inlined
def _same(
    arena: NDArray[np.uint8], at: int, data: NDArray[np.uint8], start: int, length: int
) -> bool:
    for i in range(length):
        if arena[np.uint64(at + i)] != data[np.uint64(start + i)]:
            return False
    return True


@kernel
def encode(
    column: TextColumn, known: Dictionary, codes: NDArray[np.int32], begin: int, *, add: bool
) -> int:
    """Codes of a column's ids from row `begin` on, -1 for null; returns the first row not done.

    It stops early where the dictionary has to grow. Without `add`, unknown ids get -1.
    """
    mask = np.uint64(known.slots.size - 1)
    room = min(known.hashes.size, known.slots.size // 2)
    for row in range(begin, codes.size):
        if _is_null(column.validity, column.first_bit + row):
            codes[row] = -1
            continue
        start = column.offsets[row]
        length = column.offsets[row + 1] - start
        hashed = hash_bytes(column.data, start, start + length)
        slot = hashed & mask
        code = known.slots[slot]
        while code >= 0:
            at = known.starts[code]
            if (
                known.hashes[code] == hashed
                and known.starts[code + 1] - at == length
                and _same(known.arena, at, column.data, start, length)
            ):
                break
            slot = (slot + np.uint64(1)) & mask
            code = known.slots[slot]
        if code < 0 and add:
            code = known.size[0]
            at = known.starts[code]
            if code >= room or at + length > known.arena.size:
                return row
            for i in range(length):
                known.arena[at + i] = column.data[start + i]
            known.starts[code + 1] = at + length
            known.hashes[code] = hashed
            fits = id_fits(column.data, start, start + length)
            known.status[code] = FITS if fits else UNFIT
            known.slots[slot] = code
            known.size[0] = code + 1
        codes[row] = code
    return codes.size


@kernel
def fill_slots(slots: NDArray[np.int32], hashes: NDArray[np.uint64], size: int) -> None:
    """Enter the first `size` codes into an empty table."""
    mask = np.uint64(slots.size - 1)
    for code in range(size):
        slot = hashes[code] & mask
        while slots[slot] >= 0:
            slot = (slot + np.uint64(1)) & mask
        slots[slot] = code


@inlined
def _broken_rule(
    user: int, concept: int, time: int, correct: int, latest: int,
    users: Dictionary, concepts: Dictionary,
) -> int:  # fmt: skip
    """The first rule that a row breaks, in the order of `contracts.LOG_RULES`."""
    rule = ACCEPTED
    if user < 0:
        rule = NO_USER
    elif users.status[user] == BARRED:
        rule = ERASED
    elif users.status[user] == UNFIT:
        rule = LONG_USER
    elif concept < 0:
        rule = NO_CONCEPT
    elif concepts.status[concept] == UNFIT:
        rule = LONG_CONCEPT
    elif not 0 <= correct <= 1:
        rule = NOT_0_OR_1
    elif time < _INFINITE_BELOW:
        rule = NO_TIME
    elif time < 0:
        rule = BEFORE_1970
    elif time > latest:
        rule = IN_FUTURE
    return rule


@kernel
def sift(
    batch: RowBatch, user_codes: NDArray[np.int32], concept_codes: NDArray[np.int32],
    users: Dictionary, concepts: Dictionary, latest: int,
    buckets: Buckets, tally: Tally, rules: NDArray[np.uint8], begin: int,
) -> int:  # fmt: skip
    """Judge rows from `begin` on, and put the good ones into their bucket.

    Returns the first row not done: it stops where that row's bucket is full.
    """
    capacity = buckets.rows.shape[1]
    shift = np.uint64(64 - int(np.log2(buckets.rows.shape[0])))
    for row in range(begin, user_codes.size):
        user, concept = user_codes[row], concept_codes[row]
        time, correct = batch.times[row], batch.correct[row]
        rule = _broken_rule(user, concept, time, correct, latest, users, concepts)
        rules[row] = rule
        if rule != ACCEPTED:
            continue
        concept_hash = concepts.hashes[concept]
        bucket = np.int64(concept_hash >> shift) if buckets.rows.shape[0] > 1 else 0
        place = buckets.filled[bucket]
        if place == capacity:
            return row
        buckets.filled[bucket] = place + 1
        buckets.rows[bucket, place, 0] = (
            (np.int64(concept) << 32) | (np.int64(user) << 1) | correct
        )
        buckets.rows[bucket, place, 1] = batch.ids[row]
        buckets.rows[bucket, place, 2] = time
        tally.digests[concept] += row_hash(
            concept_hash, users.hashes[user], batch.ids[row], time, correct
        )
        tally.counts[concept] += 1
        tally.active[user] = True
    return user_codes.size


class DetailBatch(NamedTuple):
    """The stamps of one batch; 0 outcomes where a row has none."""

    recent: NDArray[np.int64]
    n_before: NDArray[np.int64]
    n_right_before: NDArray[np.int64]


@kernel
def gather_details(
    rules: NDArray[np.uint8], ids: NDArray[np.int64], concept_codes: NDArray[np.int32],
    question_codes: NDArray[np.int32], question_hashes: NDArray[np.uint64],
    batch: DetailBatch, digests: NDArray[np.uint64], out: NDArray[np.int64],
) -> int:  # fmt: skip
    """Question and stamp of the accepted rows, into `out`; returns how many there are.

    Code of concept; id; outcomes; attempts before << 32 | right ones; code of question.
    `digests` (n_concepts,) gets the wrapping sum of the hashes of each concept's rows.
    """
    n = 0
    for row in range(rules.size):
        if rules[row] != ACCEPTED:
            continue
        question = question_codes[row]
        out[n, 0], out[n, 1], out[n, 2] = concept_codes[row], ids[row], batch.recent[row]
        out[n, 3] = (batch.n_before[row] << 32) | batch.n_right_before[row]
        out[n, 4] = question
        state = _mixed(_K0, np.uint64(ids[row]))
        state = _mixed(state, question_hashes[question] if question >= 0 else np.uint64(0))
        state = _mixed(state, np.uint64(out[n, 2]))
        digests[concept_codes[row]] += _finished(_mixed(state, np.uint64(out[n, 3])))
        n += 1
    return n


@kernel
def count_keys(
    rows: NDArray[np.int64], concept_ranks: NDArray[np.int32], counts: NDArray[np.int64]
) -> None:
    """Add the rows of each concept rank to `counts`."""
    for row in range(rows.shape[0]):
        counts[concept_ranks[rows[row, 0] >> 32]] += 1


@kernel
def ranked_in_range(
    rows: NDArray[np.int64], concept_ranks: NDArray[np.int32], user_ranks: NDArray[np.int32],
    low: int, high: int, chosen: NDArray[np.int64], n_chosen: int,
) -> int:  # fmt: skip
    """Append rows whose ranked key lies in [low, high) to `chosen`; returns how many it holds.

    A ranked key is rank of concept << 32 | rank of user << 1 | correct.
    """
    for row in range(rows.shape[0]):
        key = rows[row, 0]
        ranked = (
            (np.int64(concept_ranks[key >> 32]) << 32)
            | (np.int64(user_ranks[(key >> 1) & 0x7FFFFFFF]) << 1)
            | (key & 1)
        )
        if low <= ranked < high:
            if n_chosen < chosen.shape[0]:
                chosen[n_chosen, 0] = ranked
                chosen[n_chosen, 1] = rows[row, 1]
                chosen[n_chosen, 2] = rows[row, 2]
            n_chosen += 1
    return n_chosen


@kernel
def canonical_order(rows: NDArray[np.int64], spread: NDArray[np.int64]) -> None:
    """Sort ranked rows in place by (concept, user, time, id); `spread` is as large as `rows`.

    Stable radix passes over the bits of (concept, user) that differ, then each user's own rows:
    they mostly arrive in order, so that this step mostly only looks.
    """
    n = rows.shape[0]
    if n == 0:
        return
    differing = np.int64(0)
    for i in range(n):
        differing |= (rows[i, 0] ^ rows[0, 0]) & ~np.int64(1)
    source, target = rows, spread
    bit = _ONE
    while bit < 63 and (differing >> bit):
        if (differing >> bit) & ((1 << _RADIX_BITS) - 1):
            _radix_pass(source, target, bit)
            source, target = target, source
        bit += _RADIX_BITS
    if source is not rows:
        for i in range(n):
            for word in range(3):
                rows[i, word] = source[i, word]
    start = _ZERO
    for i in range(1, n + 1):
        if i == n or (rows[i, 0] >> 1) != (rows[start, 0] >> 1):
            _order_attempts(rows, start, i)
            start = i


@kernel
def _radix_pass(source: NDArray[np.int64], target: NDArray[np.int64], bit: int) -> None:
    size = 1 << _RADIX_BITS
    places = np.zeros(size + 1, np.int64)
    for i in range(source.shape[0]):
        places[((source[i, 0] >> bit) & (size - 1)) + 1] += 1
    for digit in range(size):
        places[digit + 1] += places[digit]
    for i in range(source.shape[0]):
        digit = (source[i, 0] >> bit) & (size - 1)
        place = places[digit]
        places[digit] = place + 1
        target[place, 0] = source[i, 0]
        target[place, 1] = source[i, 1]
        target[place, 2] = source[i, 2]


@kernel
def _order_attempts(rows: NDArray[np.int64], start: int, stop: int) -> None:
    """Sort rows [start, stop) of one user at one concept by (time, id)."""
    for i in range(start + 1, stop):
        j = i
        while j > start and _before(rows, j, j - 1):
            if i - j > _FEW:
                _heap_sort(rows, start, stop)
                return
            _swap(rows, j, j - 1)
            j -= 1


@kernel
def _heap_sort(rows: NDArray[np.int64], start: int, stop: int) -> None:
    """The same for many rows in disorder."""
    n = stop - start
    for root in range(n // 2 - 1, -1, -1):
        _sift_down(rows, start, root, n)
    for end in range(n - 1, 0, -1):
        _swap(rows, start, start + end)
        _sift_down(rows, start, _ZERO, end)


@kernel
def _sift_down(rows: NDArray[np.int64], start: int, root: int, end: int) -> None:
    while 2 * root + 1 < end:
        child = 2 * root + 1
        if child + 1 < end and _before(rows, start + child, start + child + 1):
            child += 1
        if not _before(rows, start + root, start + child):
            return
        _swap(rows, start + root, start + child)
        root = child


@inlined
def _before(rows: NDArray[np.int64], one: int, other: int) -> bool:
    """Whether one row comes before another by (time, id)."""
    if rows[one, 2] != rows[other, 2]:
        return bool(rows[one, 2] < rows[other, 2])
    return bool(rows[one, 1] < rows[other, 1])


@inlined
def _swap(rows: NDArray[np.int64], one: int, other: int) -> None:
    for word in range(3):
        held = rows[one, word]
        rows[one, word] = rows[other, word]
        rows[other, word] = held


class Run(NamedTuple):
    """Attempts of one concept in the order of (user, time, id)."""

    users: NDArray[np.int32]
    ids: NDArray[np.int64]
    times: NDArray[np.int64]
    correct: NDArray[np.int8]


@inlined
def _comes_first(one: Run, i: int, other: Run, j: int) -> bool:
    if one.users[i] != other.users[j]:
        return bool(one.users[i] < other.users[j])
    if one.times[i] != other.times[j]:
        return bool(one.times[i] < other.times[j])
    return bool(one.ids[i] < other.ids[j])


@kernel
def merge_runs(base: Run, added: Run, merged: Run) -> None:
    """Two runs as one; `merged` is as long as both together."""
    i = 0
    for j in range(added.users.size + 1):
        first = i
        while i < base.users.size and (
            j == added.users.size or _comes_first(base, i, added, j)
        ):
            i += 1
        for k in range(first, i):
            merged.users[k + j] = base.users[k]
            merged.ids[k + j] = base.ids[k]
            merged.times[k + j] = base.times[k]
            merged.correct[k + j] = base.correct[k]
        if j < added.users.size:
            merged.users[i + j] = added.users[j]
            merged.ids[i + j] = added.ids[j]
            merged.times[i + j] = added.times[j]
            merged.correct[i + j] = added.correct[j]


@kernel
def count_lengths(users: NDArray[np.int32], counts: NDArray[np.int64]) -> int:
    """Count the sequences of one concept by the power of two below their length.

    Returns the longest.
    """
    longest = 0
    start = 0
    for i in range(1, users.size + 1):
        if i == users.size or users[i] != users[start]:
            longest = max(longest, i - start)
            counts[min(int(np.log2(i - start)), counts.size - 1)] += 1
            start = i
    return longest


@kernel
def measure_lateness(rows: Run, edges: NDArray[np.int64], counts: NDArray[np.int64]) -> None:
    """Count attempts written after one of the same user that happened later.

    Ids tell the order of writing; a bin of `counts` ends at an edge (microseconds) of how much
    later the latest of those happened.
    """
    n = rows.users.size
    lowest = np.empty(n, np.int64)  # the least id from here to the end of the user's attempts
    stop = n
    for i in range(n - 1, -1, -1):
        if i == n - 1 or rows.users[i] != rows.users[i + 1]:
            stop = i + 1
            lowest[i] = rows.ids[i]
            continue
        lowest[i] = min(rows.ids[i], lowest[i + 1])
        if lowest[i] == rows.ids[i]:
            continue
        low, high = i + 1, stop - 1  # the last place from which a lower id follows
        while low < high:
            middle = (low + high + 1) // 2
            if lowest[middle] < rows.ids[i]:
                low = middle
            else:
                high = middle - 1
        late = rows.times[low] - rows.times[i]
        place = 0
        while place < edges.size and late >= edges[place]:
            place += 1
        counts[place] += 1


@kernel
def count_new_users(base: NDArray[np.int32], added: NDArray[np.int32]) -> int:
    """Distinct users in `added` that `base` lacks; both ascend, with repetitions."""
    n_new = 0
    at = 0
    for i in range(added.size):
        if i and added[i] == added[i - 1]:
            continue
        while at < base.size and base[at] < added[i]:
            at += 1
        n_new += at == base.size or base[at] != added[i]
    return n_new


@kernel
def unpack(
    rows: NDArray[np.int64], concepts: NDArray[np.int32], users: NDArray[np.int32],
    ids: NDArray[np.int64], times: NDArray[np.int64], correct: NDArray[np.int8],
) -> None:  # fmt: skip
    """Ranked rows to the columns of a shard."""
    for i in range(rows.shape[0]):
        key = rows[i, 0]
        concepts[i] = key >> 32
        users[i] = (key >> 1) & 0x7FFFFFFF
        correct[i] = key & 1
        ids[i] = rows[i, 1]
        times[i] = rows[i, 2]


@kernel
def summarise(rows: NDArray[np.int64], facts: ConceptFacts) -> None:
    """Add sorted rows, each user's rows at a concept all among them, to the facts."""
    for i in range(rows.shape[0]):
        key, time = rows[i, 0], rows[i, 2]
        concept = key >> 32
        if i == 0 or (rows[i - 1, 0] >> 1) != (key >> 1):
            facts.n_users[concept] += 1
        facts.n_correct[concept] += key & 1
        facts.first_at[concept] = min(facts.first_at[concept], time)
        facts.last_at[concept] = max(facts.last_at[concept], time)


@kernel
def times_from_text(column: TextColumn, times: NDArray[np.int64]) -> None:
    """Microseconds since 1970 of `YYYY-MM-DD HH:MM:SS.ffffff`, NO_MOMENT for other text."""
    for row in range(times.size):
        start = np.int64(column.offsets[row])
        times[row] = NO_MOMENT
        if (
            _is_null(column.validity, column.first_bit + row)
            or column.offsets[row + 1] - start != 26
        ):
            continue
        times[row] = _moment(column.data, start)


@kernel
def _moment(data: NDArray[np.uint8], start: int | np.int64) -> int:
    marks = (
        data[start + 4] == 45 and data[start + 7] == 45 and data[start + 10] == 32
        and data[start + 13] == 58 and data[start + 16] == 58 and data[start + 19] == 46
    )  # fmt: skip
    year, fine0 = _digits(data, start, _FOUR_DIGITS)
    month, fine1 = _digits(data, start + 5, _TWO_DIGITS)
    day, fine2 = _digits(data, start + 8, _TWO_DIGITS)
    hour, fine3 = _digits(data, start + 11, _TWO_DIGITS)
    minute, fine4 = _digits(data, start + 14, _TWO_DIGITS)
    second, fine5 = _digits(data, start + 17, _TWO_DIGITS)
    micro, fine6 = _digits(data, start + 20, _SIX_DIGITS)
    fine = marks and fine0 and fine1 and fine2 and fine3 and fine4 and fine5 and fine6
    if not (
        fine and 1 <= month <= 12 and 1 <= day <= _days_of(year, month)
        and hour < 24 and minute < 60 and second < 60
    ):  # fmt: skip
        return NO_MOMENT
    # Days from the civil calendar (Hinnant 2013), with years that begin in March.
    year -= month <= 2
    era = year // 400
    of_era = year - era * 400
    of_year = (153 * (month + (-3 if month > 2 else 9)) + 2) // 5 + day - 1
    days = era * 146_097 + of_era * 365 + of_era // 4 - of_era // 100 + of_year - 719_468
    return ((days * 24 + hour) * 60 + minute) * 60_000_000 + second * 1_000_000 + micro


@inlined
def _digits(data: NDArray[np.uint8], start: int | np.int64, n: int) -> tuple[int, bool]:
    value = 0
    fine = True
    for i in range(n):
        digit = int(data[start + i]) - 48
        fine = fine and 0 <= digit <= 9
        value = value * 10 + digit
    return value, fine


@inlined
def _days_of(year: int, month: int) -> int:
    if month == 2:
        return 29 if year % 4 == 0 and (year % 100 != 0 or year % 400 == 0) else 28
    return 30 if month in (4, 6, 9, 11) else 31

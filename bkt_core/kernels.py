"""Every compiled function: the scalar steps of the model, and the loops over attempts.

All of them stand in this one file because Numba's disk cache watches only the file of the
cached function. `fastmath` stays off: the order of operations is part of the contract
(docs/algorithms.md, section 2), and plain Python gives the same bits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar, cast

import numba
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Counts = NDArray[np.int64]
    Outcomes = NDArray[np.int8]

F = TypeVar("F", bound="Callable[..., Any]")

#: Probabilities are kept in [P_MIN, P_MAX]; the clamp is part of the model.
P_MIN = 1e-10
P_MAX = 1.0 - 1e-10


def kernel(function: F) -> F:
    """Compile on first use, keep on disk, and release the GIL while running."""
    return cast("F", numba.njit(cache=True, nogil=True, error_model="numpy")(function))


def inlined(function: F) -> F:
    """Compile into each caller: for the steps inside the innermost loops."""
    return cast("F", numba.njit(forceinline=True, error_model="numpy")(function))


def ufunc(function: Callable[..., float]) -> Callable[..., Floats]:
    """Compile a scalar function to one over float64 arrays, on first use."""
    vectorize = cast("Callable[..., Any]", numba.vectorize)
    return cast("Callable[..., Floats]", vectorize(cache=True)(function))


# ── The model: one step at a time ────────────────────────────────────────────────────────


@kernel
def clamp(p: float) -> float:
    """The nearest number in [P_MIN, P_MAX]."""
    return min(max(p, P_MIN), P_MAX)


@kernel
def predict_correct(p_L: float, p_S: float, p_G: float) -> float:
    """P(correct) before the attempt; arguments are clamped already."""
    return clamp(p_L * (1.0 - p_S) + (1.0 - p_L) * p_G)


@kernel
def posterior_given_obs(p_L: float, correct: bool, p_S: float, p_G: float) -> float:
    """Mastery after the outcome is seen, before any learning; arguments are clamped already."""
    p_correct = predict_correct(p_L, p_S, p_G)
    if correct:
        return clamp(p_L * (1.0 - p_S) / p_correct)
    return clamp(p_L * p_S / (1.0 - p_correct))


@kernel
def apply_learning_transition(p_L_given_obs: float, p_T: float) -> float:
    """Mastery after the chance to learn; arguments are clamped already."""
    return clamp(p_L_given_obs + (1.0 - p_L_given_obs) * p_T)


@kernel
def update_mastery(p_L: float, correct: bool, p_T: float, p_S: float, p_G: float) -> float:
    """Mastery before the next attempt; arguments are clamped already."""
    return apply_learning_transition(posterior_given_obs(p_L, correct, p_S, p_G), p_T)


# ── The model over arrays: the same steps as ufuncs; NaN where an argument is not usable ──


@ufunc
def predict_correct_each(p_L: float, p_S: float, p_G: float) -> float:
    """`predict_correct` with broadcasting; arguments need not be clamped."""
    if not (np.isfinite(p_L) and np.isfinite(p_S) and np.isfinite(p_G)):
        return np.nan
    return predict_correct(clamp(p_L), clamp(p_S), clamp(p_G))


@ufunc
def posterior_given_obs_each(p_L: float, correct: float, p_S: float, p_G: float) -> float:
    """`posterior_given_obs` with broadcasting; arguments need not be clamped."""
    if not (np.isfinite(p_L) and np.isfinite(p_S) and np.isfinite(p_G)):
        return np.nan
    if not (correct == 0.0 or correct == 1.0):
        return np.nan
    return posterior_given_obs(clamp(p_L), correct == 1.0, clamp(p_S), clamp(p_G))


@ufunc
def apply_learning_transition_each(p_L_given_obs: float, p_T: float) -> float:
    """`apply_learning_transition` with broadcasting; arguments need not be clamped."""
    if not (np.isfinite(p_L_given_obs) and np.isfinite(p_T)):
        return np.nan
    return apply_learning_transition(clamp(p_L_given_obs), clamp(p_T))


# ── Replay: every user's attempts in order ───────────────────────────────────────────────


@kernel
def replay_users(
    correct: Outcomes,
    offsets: Counts,
    p_L0: float,
    p_T: float,
    p_S: float,
    p_G: float,
    out: Floats,
) -> None:
    """Mastery after the last attempt of each user, into `out` (n_users,)."""
    p_T, p_S, p_G = clamp(p_T), clamp(p_S), clamp(p_G)
    for user in range(offsets.size - 1):
        p_L = clamp(p_L0)
        for i in range(offsets[user], offsets[user + 1]):
            p_L = update_mastery(p_L, correct[i] == 1, p_T, p_S, p_G)
        out[user] = p_L


@kernel
def trace_users(
    correct: Outcomes,
    offsets: Counts,
    p_L0: float,
    p_T: float,
    p_S: float,
    p_G: float,
    out: Floats,
) -> None:
    """Mastery after each attempt, into `out` (n_attempts,)."""
    p_T, p_S, p_G = clamp(p_T), clamp(p_S), clamp(p_G)
    for user in range(offsets.size - 1):
        p_L = clamp(p_L0)
        for i in range(offsets[user], offsets[user + 1]):
            p_L = update_mastery(p_L, correct[i] == 1, p_T, p_S, p_G)
            out[i] = p_L


@kernel
def predict_users(
    correct: Outcomes,
    offsets: Counts,
    p_L0: float,
    p_T: float,
    p_S: float,
    p_G: float,
    out: Floats,
) -> None:
    """P(correct) before each attempt, into `out` (n_attempts,)."""
    p_T, p_S, p_G = clamp(p_T), clamp(p_S), clamp(p_G)
    for user in range(offsets.size - 1):
        p_L = clamp(p_L0)
        for i in range(offsets[user], offsets[user + 1]):
            out[i] = predict_correct(p_L, p_S, p_G)
            p_L = update_mastery(p_L, correct[i] == 1, p_T, p_S, p_G)


@kernel
def simulate_users(
    offsets: Counts,
    known_at_first: NDArray[np.bool_],
    chance: Floats,
    learning: Floats,
    p_T: float,
    p_S: float,
    p_G: float,
    out: Outcomes,
) -> None:
    """Outcomes of users who follow the model, into `out`; uniform draws (n_attempts,) given."""
    for user in range(offsets.size - 1):
        known = known_at_first[user]
        for i in range(offsets[user], offsets[user + 1]):
            out[i] = chance[i] < (1.0 - p_S if known else p_G)
            known = known or learning[i] < p_T


# ── The prefix tree: what sequences share is walked once ─────────────────────────────────


class Tree(NamedTuple):
    """The distinct sequences of one concept in canonical order, as a depth-first walk.

    Sequence `i` is `correct[start[i]:start[i] + length[i]]`. The walk takes up its state at
    depth `shared[i]`, kept at `level[i]`, goes on to its end, and keeps the state at each depth
    of `saves[first_save[i]:first_save[i + 1]]`, one level deeper each time, for those to come.
    """

    correct: Outcomes  # as given
    start: Counts  # (n,)
    length: Counts  # (n,)
    shared: Counts  # (n,) attempts in common with the sequence before; 0 at the head of a block
    shared_right: Counts  # (n,) right answers among them
    level: Counts  # (n,) 0 is the root
    first_save: Counts  # (n + 1,)
    saves: Counts  # rising within a sequence
    times: Floats  # (n, n_sets) users of each training set with this sequence
    totals: Floats  # (n_sets, 3) users, attempts and right answers of each training set
    blocks: Counts  # (n_blocks + 1,) blocks share nothing and can be walked at the same time
    n_levels: int  # with the root and the level where the deepest sequence ends


#: Attempts in one sort key; the two bits left say where a sequence ends.
KEY_ATTEMPTS = 62
#: What insertion sorts before merging begins, and how many keys are sorted byte by byte.
SORTED_RUN, RADIX_SIZE = 12, 2_000
#: A block is closed when it holds this many attempts.
BLOCK_ATTEMPTS = 1 << 16


@inlined
def sort_key(correct: Outcomes, start: int, stop: int) -> np.uint64:
    """Up to 62 attempts as bits, then a 1, then zeros; the last bit says "goes on".

    Sequences that share a prefix have neighbouring keys, and equal keys mean equal attempts.
    """
    here = min(stop - start, KEY_ATTEMPTS)
    key = np.uint64(0)
    for i in range(start, start + here):
        key = (key << np.uint64(1)) | np.uint64(correct[i])
    key = ((key << np.uint64(1)) | np.uint64(1)) << np.uint64(KEY_ATTEMPTS + 1 - here)
    return key | np.uint64(stop - start > KEY_ATTEMPTS)


@kernel
def canonical_order(correct: Outcomes, offsets: Counts) -> tuple[Counts, NDArray[np.bool_]]:
    """Users sorted by their sequences, so that shared prefixes and equals are neighbours.

    Beside the order, of each in it whether the one before has the very same attempts.
    """
    n = offsets.size - 1
    order, spare_order = np.arange(n), np.empty(n, np.int64)
    keys, spare_keys = np.empty(n, np.uint64), np.empty(n, np.uint64)
    same = np.zeros(n, np.bool_)
    todo = [(0, n, 0)]  # users [low, high) of `order` agree in their first `depth` attempts
    while len(todo) > 0:
        low, high, depth = todo.pop()
        for i in range(low, high):
            keys[i] = sort_key(correct, offsets[order[i]] + depth, offsets[order[i] + 1])
        if high - low > RADIX_SIZE:
            radix_sort(keys, order, low, high, spare_keys, spare_order)
        else:
            merge_sort(keys, order, low, high, spare_keys, spare_order)
        i = low
        while i < high:
            j = i + 1
            while j < high and keys[j] == keys[i]:
                j += 1
            if not keys[i] & np.uint64(1):
                same[i + 1 : j] = True
            elif j - i > 1:
                todo.append((i, j, depth + KEY_ATTEMPTS))
            i = j
    return order, same


@kernel
def merge_sort(
    keys: NDArray[np.uint64],
    order: Counts,
    low: int,
    high: int,
    spare_keys: NDArray[np.uint64],
    spare_order: Counts,
) -> None:
    """Sort keys[low:high] and `order` along with it; stable, and never slow."""
    for start in range(low, high, SORTED_RUN):
        for i in range(start + 1, min(start + SORTED_RUN, high)):
            key, user, k = keys[i], order[i], i
            while k > start and keys[k - 1] > key:
                keys[k], order[k] = keys[k - 1], order[k - 1]
                k -= 1
            keys[k], order[k] = key, user
    width = SORTED_RUN
    while width < high - low:
        for start in range(low, high, 2 * width):
            i, middle = start, min(start + width, high)
            j, stop = middle, min(start + 2 * width, high)
            for k in range(start, stop):
                if j >= stop or (i < middle and keys[i] <= keys[j]):
                    spare_keys[k], spare_order[k] = keys[i], order[i]
                    i += 1
                else:
                    spare_keys[k], spare_order[k] = keys[j], order[j]
                    j += 1
        for k in range(low, high):
            keys[k], order[k] = spare_keys[k], spare_order[k]
        width *= 2


@kernel
def radix_sort(
    keys: NDArray[np.uint64],
    order: Counts,
    low: int,
    high: int,
    spare_keys: NDArray[np.uint64],
    spare_order: Counts,
) -> None:
    """The same as `merge_sort`, byte by byte from the last: for many keys."""
    places = np.empty(256, np.int64)
    for byte in range(8):
        shift, mask = np.uint64(8 * byte), np.uint64(255)
        places[:] = 0
        for i in range(low, high):
            places[(keys[i] >> shift) & mask] += 1
        place = low
        for value in range(256):
            place, places[value] = place + places[value], place
        for i in range(low, high):
            value = (keys[i] >> shift) & mask
            spare_keys[places[value]], spare_order[places[value]] = keys[i], order[i]
            places[value] += 1
        keys, spare_keys = spare_keys, keys
        order, spare_order = spare_order, order


@inlined
def count_right(correct: Outcomes, start: int, stop: int) -> int:
    """Right answers among the attempts [start, stop)."""
    right = 0
    for i in range(start, stop):
        right += correct[i]
    return right


@kernel
def grow_tree(correct: Outcomes, offsets: Counts, training_sets: NDArray[np.bool_]) -> Tree:
    """The tree of all users; `training_sets` (n_sets, n_users) are columns on it."""
    order, same = canonical_order(correct, offsets)
    sets_of = training_sets.T.copy()  # a user's beside each other
    n_sets = training_sets.shape[0]
    start = np.empty(order.size, np.int64)
    length = np.empty(order.size, np.int64)
    shared = np.empty(order.size, np.int64)
    shared_right = np.empty(order.size, np.int64)
    n_right = np.empty(order.size, np.int64)
    times = np.zeros((order.size, n_sets))
    totals = np.zeros((n_sets, 3))
    blocks = [0]
    n, in_block = 0, 0
    for i in range(order.size):
        user = order[i]
        if not same[i]:
            a, size = offsets[user], offsets[user + 1] - offsets[user]
            common, right = 0, 0
            if n > 0:
                b, most = start[n - 1], min(size, length[n - 1])
                while common < most and correct[a + common] == correct[b + common]:
                    right += correct[a + common]
                    common += 1
            n_right[n] = right + count_right(correct, a + common, a + size)
            if in_block >= BLOCK_ATTEMPTS:
                blocks.append(n)
                common, right, in_block = 0, 0, 0
            start[n], length[n], shared[n], shared_right[n] = a, size, common, right
            in_block += size - common
            n += 1
        for column in range(n_sets):
            times[n - 1, column] += sets_of[user, column]
    blocks.append(n)
    for i in range(n):
        for column in range(n_sets):
            totals[column, 0] += times[i, column]
            totals[column, 1] += times[i, column] * length[i]
            totals[column, 2] += times[i, column] * n_right[i]
    level, first_save, saves, n_levels = plan_walk(length[:n], shared[:n])
    return Tree(
        correct,
        start[:n],
        length[:n],
        shared[:n],
        shared_right[:n],
        level,
        first_save,
        saves,
        times[:n],
        totals,
        np.array(blocks),
        n_levels,
    )


@kernel
def plan_walk(length: Counts, shared: Counts) -> tuple[Counts, Counts, Counts, int]:
    """At which level each sequence takes up, and which depths it must keep for later ones.

    Read from the last sequence backwards, the depths at which later ones will take up form a
    rising stack; those deeper than what a sequence shares with the one before are its own to
    keep. Read forwards, the depths kept so far form the stack whose height is the level.
    """
    n = length.size
    stack = np.empty(n + 1, np.int64)
    backwards = np.empty(n, np.int64)
    kept = np.zeros(n + 1, np.int64)
    height, n_saves = 0, 0
    for i in range(n - 1, -1, -1):
        while height > 0 and stack[height - 1] > shared[i]:
            height -= 1
            backwards[n_saves] = stack[height]
            n_saves += 1
            kept[i + 1] += 1
        if shared[i] > 0 and (height == 0 or stack[height - 1] < shared[i]):
            stack[height] = shared[i]
            height += 1
    saves, first_save = backwards[:n_saves][::-1].copy(), np.cumsum(kept)
    level = np.zeros(n, np.int64)
    height, n_levels = 0, 0
    for i in range(n):
        while height > 0 and stack[height - 1] > shared[i]:
            height -= 1
        level[i] = height
        for save in range(first_save[i], first_save[i + 1]):
            stack[height] = saves[save]
            height += 1
        n_levels = max(n_levels, height + 2)
    return level, first_save, saves, n_levels


# ── The E-step: a user's hidden path is one integer, the attempts made before learning ───

#: Columns of what one walk sums over users, each an expectation given the user's attempts:
#: known at first; learned on the way; still unknown at the last attempt; attempts while
#: unknown; right answers among those; then the covariances of known, still, unknown, guessed.
KNOWN, LEARNED, STILL, UNKNOWN, GUESSED, COVARIANCES, N_SUMS = 0, 1, 2, 3, 4, 5, 16
LOG_LIKELIHOOD = 15


#: Lanes that one walk takes side by side, how many of them a vector register holds, and how
#: many are too few to fill one. What lanes keep stands in one flat array with rows of LANES
#: numbers: the loops over lanes are compiled to vector instructions only where the compiler
#: sees how far apart rows are.
LANES, WIDTH, FEW_LANES = 32, 8, 3

#: Rows of what each lane knows at one depth of the tree. The sums stand in units of
#: 2 ** exponent. The weight stands in 2 ** (exponent - deficit): a long run of right answers
#: makes it vanish beside the sums, and a long run of wrong ones can bring it back.
WEIGHT = 0  # of not having learned yet
SUM_W = 1 * LANES  # of the weights after each attempt,
SUM_J = 2 * LANES  # times the attempts so far,
SUM_R = 3 * LANES  # times the right answers so far,
SUM_JJ = 4 * LANES  # and times their products
SUM_JR = 5 * LANES
SUM_RR = 6 * LANES
EXPONENT = 7 * LANES
DEFICIT = 8 * LANES
UNIT_EXPONENT = 9 * LANES  # 2 ** -exponent
UNIT_DEFICIT = 10 * LANES  # 2 ** -deficit
STATE_SIZE = 11 * LANES  # so much is kept at a level

#: Rows of what stays: the factor of a wrong and of a right answer, parameters, and what the
#: end of a sequence needs.
WRONG = 11 * LANES
RIGHT = 12 * LANES
P_L0 = 13 * LANES
P_T = 14 * LANES
TAIL = 15 * LANES
TIMES = 16 * LANES
LIKELIHOOD = 17 * LANES
PRODUCT = 18 * LANES
SUMS = 19 * LANES  # N_SUMS rows: what the walk sums
WORK_SIZE = (19 + N_SUMS) * LANES

#: Weights are rescaled by powers of two, exactly, looked at every STRIDE attempts: one attempt
#: multiplies a weight by 1e10 at most and by 1e-20 at least, with parameters of at least 1e-10,
#: so eight of them by 2 ** 266 and 2 ** -532: nothing over- or underflows between two looks.
BIG, SMALL, BITS, STRIDE = 2.0**256, 2.0**-256, 256.0, 8
LOG_2 = np.log(2.0)


@kernel
def walk(
    tree: Tree, block: int, params: Floats, columns: Counts, n_lanes: int, sums: Floats
) -> None:
    """The E-step of several fits ("lanes") over one block of the tree, into `sums`.

    `params` (n_lanes, 4), `columns` (n_lanes,) the training set of each lane, `sums`
    (n_lanes, N_SUMS), or longer.

    The likelihood of always having known is divided out: a path that learns after attempt j
    weighs w_j, the product of one factor per attempt, and sums of w_j (plain, by attempts, by
    right answers, and by their products) give every expectation with one division per
    sequence (docs/algorithms.md).
    """
    stack = np.empty(tree.n_levels * STATE_SIZE)
    work = np.empty(WORK_SIZE)
    for first in range(0, n_lanes, LANES):
        few = min(LANES, n_lanes - first)
        set_rates(work, params[first : first + few])
        walk_few(tree, block, columns[first : first + few], stack, work)
        for lane in range(few):
            for k in range(N_SUMS):
                sums[first + lane, k] = work[SUMS + k * LANES + lane]
            sums[first + lane, LOG_LIKELIHOOD] += np.log(work[PRODUCT + lane])


@kernel
def set_rates(work: Floats, params: Floats) -> None:
    """The rows of `work` that stay, for the lanes of `params` (n_lanes, 4); others harmless."""
    for lane in range(LANES):
        work[WRONG + lane] = work[RIGHT + lane] = work[TAIL + lane] = 1.0
        work[P_L0 + lane] = work[P_T + lane] = 0.5
        work[TIMES + lane], work[PRODUCT + lane] = 0.0, 1.0
    for lane in range(params.shape[0]):
        p_L0, p_T, p_S, p_G = params[lane, 0], params[lane, 1], params[lane, 2], params[lane, 3]
        work[WRONG + lane] = (1.0 - p_T) * (1.0 - p_G) / p_S
        work[RIGHT + lane] = (1.0 - p_T) * p_G / (1.0 - p_S)
        work[P_L0 + lane], work[P_T + lane] = p_L0, p_T
        work[TAIL + lane] = (1.0 - p_L0) / (1.0 - p_T)


@kernel
def walk_few(tree: Tree, block: int, columns: Counts, stack: Floats, work: Floats) -> None:
    """`walk` for at most LANES lanes, into the rows SUMS of `work`."""
    n = columns.size
    if n > FEW_LANES:
        n = (n + WIDTH - 1) // WIDTH * WIDTH  # whole registers; what is too many is not read
    work[SUMS:] = 0.0
    stack[:STATE_SIZE] = 0.0
    stack[:LANES] = 1.0
    stack[UNIT_EXPONENT:STATE_SIZE] = 1.0
    # Arrays out of the tuple first: each use of a field inside the loop counts references.
    correct, times, saves = tree.correct, tree.times, tree.saves
    for i in range(tree.blocks[block], tree.blocks[block + 1]):
        first, depth, length = tree.start[i], tree.shared[i], tree.length[i]
        save, last_save = tree.first_save[i], tree.first_save[i + 1]
        level, right = tree.level[i], float(tree.shared_right[i])
        copy_rows(stack, level * STATE_SIZE, work, 0, n)
        while depth < length:
            end = saves[save] if save < last_save else length
            while depth < end:
                stop = min(depth + STRIDE, end)
                right = take_attempts(work, correct, first, depth, stop, right, n)
                rescale(work, n)
                depth = stop
            if save < last_save:
                level, save = level + 1, save + 1
                copy_rows(work, 0, stack, level * STATE_SIZE, n)
        most = 0.0
        for column in range(times.shape[1]):
            most = max(most, times[i, column])
        for lane in range(columns.size):
            work[TIMES + lane] = times[i, columns[lane]]
        end_sequence(work, float(length), right, n)
        add_likelihoods(work, most, n)


@inlined
def copy_rows(source: Floats, a: int, target: Floats, b: int, n: int) -> None:
    """The state of `n` lanes, from row `a` of one array to row `b` of another."""
    for row in range(0, STATE_SIZE, LANES):
        for lane in range(n):
            target[b + row + lane] = source[a + row + lane]


@inlined
def take_attempts(
    work: Floats, correct: Outcomes, first: int, depth: int, stop: int, right: float, n: int
) -> float:
    """Take the attempts `depth` to `stop` of a sequence; the right ones so far."""
    for j in range(depth, stop):
        outcome = correct[first + j]
        right += outcome
        so_far = float(j + 1)
        factor = RIGHT if outcome else WRONG
        for lane in range(n):
            w = work[WEIGHT + lane] * work[factor + lane]
            work[WEIGHT + lane] = w
            weight = w * work[UNIT_DEFICIT + lane]
            by_j, by_r = weight * so_far, weight * right
            work[SUM_W + lane] += weight
            work[SUM_J + lane] += by_j
            work[SUM_R + lane] += by_r
            work[SUM_JJ + lane] += by_j * so_far
            work[SUM_JR + lane] += by_j * right
            work[SUM_RR + lane] += by_r * right
    return right


@inlined
def rescale(work: Floats, n: int) -> None:
    """Bring weights and sums back into range, where one of them is about to leave it."""
    n_out = 0
    for lane in range(n):
        w, deficit = work[WEIGHT + lane], work[DEFICIT + lane]
        n_out += (work[SUM_W + lane] > BIG) | (w < SMALL) | ((deficit > 0.0) & (w >= 1.0))
    if n_out > 0:
        rescale_lanes(work, n)


@kernel
def rescale_lanes(work: Floats, n: int) -> None:
    """`rescale`, lane by lane."""
    for lane in range(n):
        w, deficit = work[WEIGHT + lane], work[DEFICIT + lane]
        exponent = work[EXPONENT + lane]
        while work[SUM_W + lane] > BIG:
            for row in range(SUM_W, EXPONENT, LANES):
                work[row + lane] *= SMALL
            exponent += BITS
            deficit += BITS
        while deficit > 0.0 and w >= 1.0:
            w, deficit = w * SMALL, deficit - BITS
        while 0.0 < w < SMALL:
            w, deficit = w * BIG, deficit + BITS
        work[WEIGHT + lane], work[DEFICIT + lane] = w, deficit
        work[EXPONENT + lane] = exponent
        work[UNIT_EXPONENT + lane] = 1.0 if exponent == 0.0 else 2.0**-exponent
        work[UNIT_DEFICIT + lane] = 1.0 if deficit == 0.0 else 2.0**-deficit


@inlined
def end_sequence(work: Floats, length: float, right: float, n: int) -> None:
    """Add what the users with this sequence expect, those of each lane's training set."""
    c = COVARIANCES
    for lane in range(n):
        times = work[TIMES + lane]
        p_L0, p_T = work[P_L0 + lane] * work[UNIT_EXPONENT + lane], work[P_T + lane]
        w, tail = work[WEIGHT + lane] * work[UNIT_DEFICIT + lane], work[TAIL + lane]
        at_end = (1.0 - p_T) * w  # the last attempt has no transition after it
        sum_w = work[SUM_W + lane]
        likelihood = p_L0 + tail * (p_T * sum_w + at_end)
        work[LIKELIHOOD + lane] = likelihood
        inverse = 1.0 / likelihood if times > 0.0 else 0.0
        share = tail * inverse
        known = p_L0 * inverse
        still = share * w
        unknown = share * (p_T * work[SUM_J + lane] + at_end * length)
        guessed = share * (p_T * work[SUM_R + lane] + at_end * right)
        by_jj = p_T * work[SUM_JJ + lane] + at_end * length * length
        by_jr = p_T * work[SUM_JR + lane] + at_end * length * right
        by_rr = p_T * work[SUM_RR + lane] + at_end * right * right
        work[SUMS + KNOWN * LANES + lane] += times * known
        work[SUMS + LEARNED * LANES + lane] += times * (share * p_T * (sum_w - w))
        work[SUMS + STILL * LANES + lane] += times * still
        work[SUMS + UNKNOWN * LANES + lane] += times * unknown
        work[SUMS + GUESSED * LANES + lane] += times * guessed
        work[SUMS + c * LANES + lane] += times * (known * (1.0 - known))
        work[SUMS + (c + 1) * LANES + lane] -= times * (known * still)
        work[SUMS + (c + 2) * LANES + lane] -= times * (known * unknown)
        work[SUMS + (c + 3) * LANES + lane] -= times * (known * guessed)
        work[SUMS + (c + 4) * LANES + lane] += times * (still * (1.0 - still))
        work[SUMS + (c + 5) * LANES + lane] += times * (still * (length - unknown))
        work[SUMS + (c + 6) * LANES + lane] += times * (still * (right - guessed))
        work[SUMS + (c + 7) * LANES + lane] += times * (share * by_jj - unknown * unknown)
        work[SUMS + (c + 8) * LANES + lane] += times * (share * by_jr - unknown * guessed)
        work[SUMS + (c + 9) * LANES + lane] += times * (share * by_rr - guessed * guessed)


#: Up to so many equal sequences multiply their likelihood one by one; more take a logarithm.
FEW = 4.0


@inlined
def add_likelihoods(work: Floats, most: float, n: int) -> None:
    """Add the log-likelihood of a sequence's users: one logarithm for many of them.

    `most`: no lane has more users with this sequence.
    """
    n_special = 0
    for lane in range(n):
        times = work[TIMES + lane]
        n_special += (times > FEW) | ((times > 0.0) & (work[EXPONENT + lane] != 0.0))
    if n_special > 0:
        add_logarithms(work, n)
    taken = 0.0
    while taken < min(most, FEW):
        n_out = 0
        for lane in range(n):
            times, product = work[TIMES + lane], work[PRODUCT + lane]
            takes = (times > taken) & (times <= FEW)
            product = product * work[LIKELIHOOD + lane] if takes else product
            work[PRODUCT + lane] = product
            n_out += 1 - ((product > 1e-30) & (product < 1e30))
        if n_out > 0:
            fold_products(work, n)
        taken += 1.0


@kernel
def add_logarithms(work: Floats, n: int) -> None:
    """What a sequence adds to the log-likelihood beside the product of likelihoods."""
    row = SUMS + LOG_LIKELIHOOD * LANES
    for lane in range(n):
        times, exponent = work[TIMES + lane], work[EXPONENT + lane]
        if times > 0.0 and exponent != 0.0:
            work[row + lane] += times * exponent * LOG_2
        if times > FEW:
            work[row + lane] += times * np.log(work[LIKELIHOOD + lane])


@kernel
def fold_products(work: Floats, n: int) -> None:
    """Take the logarithm of products that are about to leave the range of numbers."""
    for lane in range(n):
        product = work[PRODUCT + lane]
        if not 1e-30 < product < 1e30:
            work[SUMS + LOG_LIKELIHOOD * LANES + lane] += np.log(product)
            work[PRODUCT + lane] = 1.0


# ── The M-step and the derivatives, from what a walk has summed ──────────────────────────


@inlined
def log_likelihood(totals: Floats, sums: Floats, params: Floats) -> float:
    """What the walk divided out, put back."""
    right = totals[2]
    wrong = totals[1] - right
    always_known = right * np.log(1.0 - params[2]) + wrong * np.log(params[2])
    return float(sums[LOG_LIKELIHOOD] + always_known)


@inlined
def expected_counts(totals: Floats, sums: Floats, yes: Floats, chances: Floats) -> None:
    """Of each parameter: how often it came true (known, learned, slipped, guessed), of what."""
    users, attempts, right = totals[0], totals[1], totals[2]
    unknown, guessed = sums[UNKNOWN], sums[GUESSED]
    yes[0], chances[0] = sums[KNOWN], users
    yes[1], chances[1] = sums[LEARNED], unknown - sums[STILL]
    yes[2], chances[2] = (attempts - right) - (unknown - guessed), attempts - unknown
    yes[3], chances[3] = guessed, unknown


@kernel
def derivatives(
    yes: Floats,
    chances: Floats,
    sums: Floats,
    params: Floats,
    score: Floats,
    information: Floats,
) -> None:
    """Gradient and minus the Hessian of the log-likelihood (Louis 1982).

    The observed information is what complete data would tell, less the variance of the
    complete-data score given the attempts; that score is linear in (known, still, unknown,
    guessed), whose covariances the walk has summed.
    """
    p_T, p_S, p_G = params[1], params[2], params[3]
    slopes = np.zeros((4, 4))
    slopes[0, 0] = 1.0
    slopes[1, 0], slopes[1, 1], slopes[1, 2] = -1.0, -(1.0 - p_T), -p_T
    slopes[2, 2], slopes[2, 3] = -(1.0 - p_S), 1.0
    slopes[3, 2], slopes[3, 3] = -p_G, 1.0
    covariance = np.empty((4, 4))
    column = COVARIANCES
    for i in range(4):
        for j in range(i, 4):
            covariance[i, j] = covariance[j, i] = sums[column]
            column += 1
    for i in range(4):
        p, q = params[i], 1.0 - params[i]
        score[i] = (yes[i] - p * chances[i]) / (p * q)
        for j in range(i + 1):
            missing = 0.0
            for k in range(4):
                for m in range(4):
                    missing += slopes[i, k] * covariance[k, m] * slopes[j, m]
            missing /= p * q * params[j] * (1.0 - params[j])
            information[i, j] = information[j, i] = -missing
        information[i, i] += yes[i] / (p * p) + (chances[i] - yes[i]) / (q * q)


# ── The climb: many fits of one concept, one lane each ───────────────────────────────────

RUNNING, CONVERGED, STALLED, MAX_STEPS, FELL = 0, 1, 2, 3, 4

#: A rejected step is damped by at least DAMPING; a lane stalls beyond MAX_DAMPING; a step
#: counts as Newton's, for the stopping rule, up to MAX_NEWTON_DAMPING.
MIN_DAMPING, DAMPING, MAX_NEWTON_DAMPING, MAX_DAMPING = 1e-9, 0.1, 1.0, 1e9

#: A pivot below this, in units of the complete-data information, is none.
SINGULAR = 1e-12

#: A likelihood may fall by this many nats per attempt before plain EM calls it a defect.
ROUNDING = 1e-12


class Climb(NamedTuple):
    """Where each lane stands; a lane is one start on one training set."""

    column: Counts  # (n_lanes,) its training set
    status: Counts  # (n_lanes,)
    steps: Counts  # (n_lanes,) accepted
    trial: Floats  # (n_lanes, 4) to be evaluated next
    params: Floats  # (n_lanes, 4) accepted last, and what was found there:
    history: Floats  # (n_lanes, max_steps + 1) log-likelihoods at the accepted
    score: Floats  # (n_lanes, 4)
    information: Floats  # (n_lanes, 4, 4)
    complete: Floats  # (n_lanes, 4) information that complete data would give, the EM metric
    damping: Floats  # (n_lanes,)


class Rules(NamedTuple):
    """How lanes climb, and when they stop."""

    lower: Floats  # (4,)
    upper: Floats  # (4,)
    tolerance: float  # nats per attempt
    plain: bool  # plain EM, no Newton steps


@kernel
def new_lanes(starts: Floats, n_sets: int, max_steps: int) -> Climb:
    """One lane per training set and start (n_starts, 4), before the first evaluation."""
    n_starts = starts.shape[0]
    n_lanes = n_sets * n_starts
    column, trial = np.empty(n_lanes, np.int64), np.empty((n_lanes, 4))
    for lane in range(n_lanes):
        column[lane] = lane // n_starts
        for k in range(4):
            trial[lane, k] = starts[lane % n_starts, k]
    return Climb(
        column,
        np.full(n_lanes, RUNNING),
        np.full(n_lanes, -1),
        trial,
        np.zeros((n_lanes, 4)),
        np.empty((n_lanes, max_steps + 1)),
        np.zeros((n_lanes, 4)),
        np.zeros((n_lanes, 4, 4)),
        np.zeros((n_lanes, 4)),
        np.zeros(n_lanes),
    )


@kernel
def climb(tree: Tree, lanes: Climb, rules: Rules, n_passes: int) -> int:
    """Up to `n_passes` walks over the tree; how many lanes still run."""
    n_lanes = lanes.column.size
    params, columns = np.empty((n_lanes, 4)), np.empty(n_lanes, np.int64)
    part, sums = np.empty((n_lanes, N_SUMS)), np.empty((n_lanes, N_SUMS))
    n_active = pack(lanes, params, columns)
    while n_active > 0 and n_passes > 0:
        sums[:] = 0.0
        for block in range(tree.blocks.size - 1):
            walk(tree, block, params, columns, n_active, part)
            add_to(sums, part, n_active)
        advance(tree.totals, lanes, rules, sums)
        n_active = pack(lanes, params, columns)
        n_passes -= 1
    return n_active


@kernel
def grow_and_climb(
    correct: Outcomes,
    offsets: Counts,
    training_sets: NDArray[np.bool_],
    starts: Floats,
    max_steps: int,
    rules: Rules,
    n_passes: int,
) -> tuple[Floats, Climb, int]:
    """`grow_tree`, `new_lanes` and `climb`; the tree's totals, the lanes, how many still run.

    For small concepts: to hand a tree to Python and take it back costs as much as walking it.
    """
    tree = grow_tree(correct, offsets, training_sets)
    lanes = new_lanes(starts, training_sets.shape[0], max_steps)
    return tree.totals, lanes, climb(tree, lanes, rules, n_passes)


@kernel
def pack(lanes: Climb, params: Floats, columns: Counts) -> int:
    """Bring the trials of the lanes that run to the front; how many they are."""
    n_active = 0
    for lane in range(lanes.column.size):
        if lanes.status[lane] == RUNNING:
            columns[n_active] = lanes.column[lane]
            for k in range(4):
                params[n_active, k] = lanes.trial[lane, k]
            n_active += 1
    return n_active


@kernel
def add_to(sums: Floats, part: Floats, n_active: int) -> None:
    """Add what one block gave; always in the order of blocks, whoever walked them."""
    for i in range(n_active):
        for k in range(N_SUMS):
            sums[i, k] += part[i, k]


@kernel
def advance(totals: Floats, lanes: Climb, rules: Rules, sums: Floats) -> None:
    """Judge the trial of each lane that runs by its sums, and set its next one."""
    yes, chances = np.empty(4), np.empty(4)
    i = -1
    for lane in range(lanes.column.size):
        if lanes.status[lane] != RUNNING:
            continue
        i += 1
        total, trial = totals[lanes.column[lane]], lanes.trial[lane]
        expected_counts(total, sums[i], yes, chances)
        value = log_likelihood(total, sums[i], trial)
        step, last = lanes.steps[lane], lanes.history.shape[1] - 1
        gain = value - lanes.history[lane, step] if step >= 0 else np.inf
        if not rules.plain and not gain >= 0.0:
            lanes.damping[lane] = max(4.0 * lanes.damping[lane], DAMPING)
            propose(total, lanes, lane, rules)
            continue
        step += 1
        lanes.steps[lane] = step
        lanes.history[lane, step] = value
        derivatives(yes, chances, sums[i], trial, lanes.score[lane], lanes.information[lane])
        for k in range(4):
            lanes.params[lane, k] = trial[k]
            lanes.complete[lane, k] = max(chances[k], 0.0) / (trial[k] * (1.0 - trial[k]))
        if rules.plain:
            if not gain >= -ROUNDING * total[1]:
                lanes.status[lane] = FELL
            elif gain <= rules.tolerance * total[1]:
                lanes.status[lane] = CONVERGED
            else:
                m_step(yes, chances, rules, trial)
        else:
            damping = lanes.damping[lane]
            lanes.damping[lane] = damping / 8.0 if damping > 0.1 * DAMPING else 0.0
            propose(total, lanes, lane, rules)
        if step == last and lanes.status[lane] == RUNNING:
            lanes.status[lane] = MAX_STEPS


@kernel
def m_step(yes: Floats, chances: Floats, rules: Rules, params: Floats) -> None:
    """The parameters inside the box that maximise the expected likelihood.

    The expected likelihood is concave in each parameter alone, so clipping is exact. A
    parameter without chances keeps its value.
    """
    for k in range(4):
        if chances[k] > 0.0:
            params[k] = min(max(yes[k] / chances[k], rules.lower[k]), rules.upper[k])


@kernel
def propose(total: Floats, lanes: Climb, lane: int, rules: Rules) -> None:
    """The next trial of a lane, or that it has converged.

    A Newton step on the parameters that no bound holds, damped in the metric of complete data
    where the information is not positive definite or the last step was rejected: without
    damping it is Newton's, with much of it a short EM step (Levenberg-Marquardt).
    Half of score times step, the Newton decrement, estimates what is left to gain.
    """
    params, score, trial = lanes.params[lane], lanes.score[lane], lanes.trial[lane]
    step = np.empty(4)
    while lanes.damping[lane] < MAX_DAMPING:
        damping = max(lanes.damping[lane], MIN_DAMPING)
        lanes.damping[lane] = max(4.0 * damping, DAMPING)  # for the next round, if there is one
        if not damped_step(lanes, lane, rules, damping, step):
            continue
        gain, moved = 0.0, False
        for k in range(4):
            gain += 0.5 * score[k] * step[k]
        if damping <= MAX_NEWTON_DAMPING and gain <= rules.tolerance * total[1]:
            lanes.status[lane] = CONVERGED
            return
        for k in range(4):
            trial[k] = min(max(params[k] + step[k], rules.lower[k]), rules.upper[k])
            moved = moved or trial[k] != params[k]
        if moved:
            lanes.damping[lane] = damping
            return
    lanes.status[lane] = STALLED


@kernel
def damped_step(lanes: Climb, lane: int, rules: Rules, damping: float, step: Floats) -> bool:
    """Solve (information + damping * complete) step = score where no bound holds.

    In units of the complete-data information; False where the matrix is not positive definite.
    """
    params, score = lanes.params[lane], lanes.score[lane]
    unit, matrix = np.zeros(4), np.empty((4, 4))
    for i in range(4):
        held_low = params[i] <= rules.lower[i] and score[i] <= 0.0
        held_high = params[i] >= rules.upper[i] and score[i] >= 0.0
        if not (held_low or held_high) and lanes.complete[lane, i] > 0.0:
            unit[i] = 1.0 / np.sqrt(lanes.complete[lane, i])
        for j in range(i + 1):
            matrix[i, j] = lanes.information[lane, i, j] * unit[i] * unit[j]
        matrix[i, i] += damping if unit[i] > 0.0 else 1.0
    if not factorise(matrix):
        return False
    for i in range(4):
        step[i] = score[i] * unit[i]
    solve_factored(matrix, step)
    for i in range(4):
        step[i] *= unit[i]
    return True


@kernel
def factorise(matrix: Floats) -> bool:
    """Cholesky in place, lower triangle; False where `matrix` is not positive definite."""
    for i in range(4):
        for j in range(i + 1):
            value = matrix[i, j]
            for k in range(j):
                value -= matrix[i, k] * matrix[j, k]
            if i > j:
                matrix[i, j] = value / matrix[j, j]
            elif value > SINGULAR:
                matrix[i, i] = np.sqrt(value)
            else:
                return False
    return True


@kernel
def solve_factored(factor: Floats, vector: Floats) -> None:
    """Solve (factor times its transpose) x = vector in place."""
    for i in range(4):
        for k in range(i):
            vector[i] -= factor[i, k] * vector[k]
        vector[i] /= factor[i, i]
    for i in range(3, -1, -1):
        for k in range(i + 1, 4):
            vector[i] -= factor[k, i] * vector[k]
        vector[i] /= factor[i, i]


@kernel
def standard_errors(
    information: Floats, complete: Floats, free: tuple[bool, ...]
) -> tuple[Floats, float]:
    """Of the parameters that are free, (4,); 0 where one is not.

    Beside them by how much not seeing the paths makes the variances larger, summed over
    parameters in units of what known paths (`complete`) would leave: infinitely where the
    information (4, 4) is not positive definite.
    """
    unit, errors, inflation = np.zeros(4), np.zeros(4), 0.0
    factor, column = np.empty((4, 4)), np.empty(4)
    for i in range(4):
        if free[i]:
            if complete[i] <= 0.0:
                return errors, np.inf
            unit[i] = 1.0 / np.sqrt(complete[i])
    for i in range(4):
        for j in range(i + 1):
            factor[i, j] = information[i, j] * unit[i] * unit[j]
        if not free[i]:
            factor[i, i] = 1.0
    if not factorise(factor):
        return errors, np.inf
    for i in range(4):
        for k in range(4):
            column[k] = 1.0 if k == i else 0.0
        solve_factored(factor, column)
        errors[i] = unit[i] * np.sqrt(column[i])
        inflation += column[i]
    return errors, inflation

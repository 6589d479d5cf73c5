"""Mutants that no test can notice, with the reason of each.

Keyed by the module and by its line as the mutant has it; a line that is no longer a mutant is
reported, so that this list does not outlive the code.
"""

from __future__ import annotations

_COMPARISON = "bkt_core/evaluation/comparison.py"
_TALLY = "bkt_core/evaluation/tally.py"
_PARAMS = "datasets/store/params"

EQUIVALENT: dict[str, dict[str, str]] = {
    "datasets/store/attempts/keys.py": {
        "or_(column == key, and_(column > head + _MARK, column < head + _AFTER_MARK)),": (
            "A key with nothing after the mark is none of an attempt's, and left out below."
        ),
        "or_(column == key, and_(column >= head + _MARK, column <= head + _AFTER_MARK)),": (
            "What the range has too many is left out below."
        ),
    },
    "datasets/store/attempts/stamps.py": {
        '.where(AttemptRow.user_id == bindparam("user_id"), AttemptRow.attempted_at <= _AT)': (
            "Where there are rows of the moment itself, no earlier one is looked at."
        ),
    },
    "datasets/store/states/snapshots.py": {
        "WHERE NOT s.is_stale AND s.n_attempts >= 0 AND {changed}": (
            "Which states are written is asked again below; here they are counted."
        ),
        'bindparam("at", type_=UtcDateTime()), bindparam("concepts", expanding=False)': (
            "SQLAlchemy expands a parameter of IN without being asked."
        ),
    },
    "datasets/store/states/replays.py": {
        "one = one_user(np.ones(2, dtype=np.int8))": "The warm-up's result is not used.",
        "step(1.5, 1, FALLBACK_PARAMS)": "The warm-up's result is not used.",
        "step(0.5, 2, FALLBACK_PARAMS)": "The warm-up's result is not used.",
    },
    f"{_PARAMS}/in_force.py": {
        'else SkillParamsRow.concept_id.in_(bindparam("concept_ids", expanding=False)),': (
            "SQLAlchemy expands a parameter of IN without being asked."
        ),
    },
    f"{_PARAMS}/rollback.py": {
        "MAX_ID = 2**63 - 2": "No sequence of ids gets to the last one.",
        "target = stored_params(conn, to_param_id) if to_param_id < MAX_ID else None": (
            "No sequence of ids gets to the last one."
        ),
    },
    f"{_PARAMS}/versions.py": {
        'differ = checks.get("require_learned_better_than_unlearned", False)': (
            "Only whether it is a truth value is looked at."
        ),
    },
    "bkt_core/params.py": {
        "box = {key: _number(edges, key, 1.0) for key in edges}": (
            "No key is missing of those that are there."
        ),
    },
    "bkt_core/evaluation/metrics.py": {
        "losses: NDArray[np.float64] = -np.log(np.minimum(np.maximum(p_outcome, EPSILON), 2.0))": (  # noqa: E501
            "A probability is at most 1."
        ),
    },
    "bkt_core/judgement/verdict_checks.py": {
        "share, crossing = (0.0, 1) if moved is None else (moved.share, moved.crossing)": (
            "Without an impact the share is 0, so that the number is not looked at."
        ),
    },
    _COMPARISON: {
        "NEWTON_STEPS = 61": "Newton's method has ended long before.",
        "if total > float(sizes.sum()) * (1.0 - 1e-12):": (
            "The tolerance is far above rounding: no sum lies on its edge."
        ),
        "if total <= 0.0 and sizes.size > MAX_ENUMERATED:  # approximated in the upper tail alone": (  # noqa: E501
            "The tail at 0 is one half on either side."
        ),
        "adjusted[order] = np.minimum(np.minimum.accumulate(scaled[::-1])[::-1], 2.0)": (
            "The largest p-value is scaled by 1, and is a minimum of all before it."
        ),
        "sums = np.zeros(2)": "Every pattern is counted twice, and divided by twice as many.",
        "return float(np.count_nonzero(sums > total - 1e-9)) / sums.size": (
            "The tolerance is far above rounding: no sum lies on its edge."
        ),
        "if slope <= 0.0 or missing < 1e-12 * total:": "One more step of Newton's method.",
        "if slope <= 0.0 or missing <= 1e-12 / total:": "A few more steps of Newton's method.",
    },
    _TALLY: {
        "return counts.reshape(-2, 2)": "NumPy infers the dimension of any negative number.",
        "np.bincount(when * 2 + right[early], minlength=2 * CURVE_LENGTH).reshape(-2, 2),": (
            "NumPy infers the dimension of any negative number."
        ),
        "columns = np.array(rows).reshape(-2, width).T": (
            "NumPy infers the dimension of any negative number."
        ),
        "whole = np.zeros(3 * TALLY_BINS, dtype=np.int64)": "No key reaches the added room.",
        "own = np.where(np.diff(whole.keys >> 1, prepend=-2) == 0, np.roll(wrong, 1), 0)": (
            "The first key differs from either number."
        ),
        'return base64.b64encode(zlib.compress(values.astype("<i4").tobytes(), 7)).decode("ascii")': (  # noqa: E501
            "Another effort of compression; what is unpacked is the same."
        ),
    },
}

"""Algorithm versions: what is refused, what stays, and that unknown settings never run."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import select, text

from bkt_core.errors import BadInputError, BktError, UnknownSettingsError
from bkt_core.params import AlgoParams
from datasets.store.errors import UnknownAlgorithmError
from datasets.store.params.algorithms import active_algorithm, algorithm
from datasets.store.params.in_force import in_force, in_force_of
from datasets.store.params.seeds import CANDIDATE_PARAMS, CANDIDATES, SEEDED_PARAMS
from datasets.store.params.versions import (
    add_version,
    differences,
    list_versions,
    retire_version,
)
from datasets.store.schema.tables import AlgoParamsRow
from tests.datasets.store.writing import promote
from tests.moments import STARTED

NARROW = {**SEEDED_PARAMS, "mastery_threshold": 0.9}
VARIANT = {**SEEDED_PARAMS, "a_later_release": {"forgetting": True}}


def settings_with(**changes):
    return {**SEEDED_PARAMS, **changes}


def box_with(**changes):
    return settings_with(constraints={**SEEDED_PARAMS["constraints"], **changes})


def test_versions_are_listed_with_their_concepts(engine):
    promote(engine, "run-1", "a")
    promote(engine, "run-2", "a")
    promote(engine, "run-2", "b")
    with engine.begin() as conn:
        first, second, third, *_others = list_versions(conn)
    assert (first.version, first.status, first.concepts_fitted, first.rows) == (
        "v1", "ACTIVE", 2, 3,
    )  # fmt: skip
    assert (second.version, second.status, second.concepts_fitted, second.rows) == (
        "v2", "CANDIDATE", 0, 0,
    )  # fmt: skip
    assert differences(second.settings, first.settings) == {"constraints.L0_max": (0.95, 0.5)}
    assert differences(third.settings, second.settings) == {
        "constraints.F_max": (0.1, None),
        "constraints.F_min": (0.0, None),
        "variant.forgetting": (True, None),
    }


def test_an_added_version_is_a_candidate_and_never_changes(engine):
    with engine.begin() as conn:
        assert add_version(conn, "v1-narrow", NARROW, at=STARTED)
        assert algorithm(conn, "v1-narrow").params.mastery_threshold == 0.9
        assert active_algorithm(conn).version == "v1"
        stored = conn.execute(select(AlgoParamsRow.params)).all()
    later = STARTED + timedelta(days=1)
    with engine.begin() as conn:
        assert not add_version(conn, "v1-narrow", NARROW, at=later)
        with pytest.raises(BadInputError, match=r"never change \(mastery_threshold\)"):
            add_version(conn, "v1-narrow", SEEDED_PARAMS, at=later)
        with pytest.raises(BadInputError, match="other settings"):
            add_version(conn, "v2", SEEDED_PARAMS, at=later)
        assert not add_version(conn, "v2", CANDIDATE_PARAMS, at=later)
        assert conn.execute(select(AlgoParamsRow.params)).all() == stored
        assert list_versions(conn)[-1].created_at == STARTED


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (settings_with(treshold=1), "treshold"),
        (settings_with(variant={"forgets": True}), "variant"),
        (box_with(L0_maximum=0.9), r"constraints\.L0_maximum"),
        (settings_with(degeneracy_checks={"least": 1}), r"degeneracy_checks\.least"),
        (settings_with(constraints=[1]), "must be an object"),
        (settings_with(degeneracy_checks=7), "must be an object"),
        (settings_with(min_attempts_for_fit=10.5), "whole number"),
        (settings_with(min_attempts_for_fit=float("inf")), "whole number"),
        (settings_with(min_attempts_for_fit=float("nan")), "whole number"),
        (settings_with(mastery_threshold=float("nan")), "mastery_threshold"),
        (settings_with(mastery_threshold="high"), "must be a number"),
        (settings_with(degeneracy_checks={"require_learned_better_than_unlearned": 1}), "true"),
        (box_with(S_min=0.5, S_max=0.6), "S_min must be below 0.5"),
        (box_with(G_min=0.5, G_max=0.6), "G_min must be below 0.5"),
        (box_with(T_min=0.5, T_max=0.4), "min < max"),
        (settings_with(default_L0=0), "default_L0 must be between"),
        (settings_with(default_T=1), "default_T must be between"),
        (settings_with(default_G=0.5), "below 0.5"),
        (settings_with(default_S=0.5), "below 0.5"),
    ],
)
def test_settings_that_mean_nothing_are_refused(engine, settings, said):
    with engine.begin() as conn:
        with pytest.raises(BktError, match=said):
            add_version(conn, "v9", settings, at=STARTED)
        assert [one.version for one in list_versions(conn)] == ["v1", "v2", "v3", "v4", "v5"]


@pytest.mark.parametrize("name", ["", "-v", "a b", "v" * 65, "v\n", "ü"])
def test_names_are_plain(engine, name):
    with engine.begin() as conn, pytest.raises(BadInputError, match="name of a version"):
        add_version(conn, name, NARROW, at=STARTED)


def test_a_candidate_is_retired_once_and_the_active_version_never(engine):
    with engine.begin() as conn:
        assert retire_version(conn, "v2")
        assert not retire_version(conn, "v2")
        assert [one.status for one in list_versions(conn)] == [
            "ACTIVE", "RETIRED", *["CANDIDATE"] * 3,
        ]  # fmt: skip
        with pytest.raises(BadInputError, match="in force"):
            retire_version(conn, "v1")
        with pytest.raises(UnknownAlgorithmError, match="v1, v2, v3, v4, v5"):
            retire_version(conn, "v7")


def test_a_version_of_a_later_release_is_listed_and_never_run(engine):
    """Neither for a concept with parameters of its own nor for one without."""
    promote(engine, "run-1", "fitted")
    with engine.begin() as conn:
        if conn.dialect.name == "postgresql":
            conn.execute(text("SET LOCAL session_replication_role = replica"))
        row = AlgoParamsRow.__table__
        conn.execute(row.update().where(row.c.algo_version_id == 1).values(params=VARIANT))
    with engine.begin() as conn:
        assert list_versions(conn)[0].unknown == ["a_later_release"]
        for asked in (
            lambda: active_algorithm(conn),
            lambda: in_force(conn, "fitted"),
            lambda: in_force(conn, "other"),
            lambda: in_force_of(conn, ["fitted"]),
        ):
            with pytest.raises(UnknownSettingsError, match="does not know; correct the key"):
                asked()


def test_what_was_seeded_is_known_and_means_something():
    for settings in (SEEDED_PARAMS, *CANDIDATES.values(), {}):
        algo = AlgoParams.from_json(settings)
        assert AlgoParams.from_json(algo.as_json()) == algo
    assert AlgoParams().as_json() == SEEDED_PARAMS

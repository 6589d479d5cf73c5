"""The example alert rules: they parse, and name metrics and labels that /metrics has."""

from __future__ import annotations

import re
from pathlib import Path

import promql_parser
import pytest
import yaml

from tests.serving.calling import new_api
from tests.serving.observation.test_nights import a_night, samples

RULES = Path(__file__).resolve().parents[3] / "docs" / "alerts.yaml"
GROUPS = yaml.safe_load(RULES.read_text())["groups"]
ALERTS = {rule["alert"]: rule for group in GROUPS for rule in group["rules"]}
DOCS = RULES.parent


def selectors(expression) -> list[promql_parser.VectorSelector]:
    """Every metric that an expression reads."""
    if isinstance(expression, promql_parser.VectorSelector):
        return [expression]
    if isinstance(expression, promql_parser.MatrixSelector):
        return [expression.vector_selector]
    parts = [getattr(expression, name, None) for name in ("expr", "lhs", "rhs")]
    inner = [part for part in parts if part is not None] + list(getattr(expression, "args", ()))
    return [found for part in inner for found in selectors(part)]


@pytest.mark.parametrize("rule", ALERTS.values(), ids=ALERTS)
def test_a_rule_is_complete_and_parses(rule):
    """With a severity, what happened, what to do, and how long it must last."""
    assert set(rule) <= {"alert", "expr", "for", "labels", "annotations"}
    assert rule["labels"]["severity"] in ("page", "ticket")
    assert set(rule["annotations"]) == {"summary", "action"}
    promql_parser.parse_duration(rule.get("for", "1m"))
    assert selectors(promql_parser.parse(rule["expr"]))
    for page in re.findall(r"\b[a-z-]+\.md\b", rule["annotations"]["action"]):
        assert (DOCS / page).is_file()


def test_every_metric_and_label_of_the_rules_exists(sqlite_url):
    """After a night, a monitoring and a request."""
    a_night(sqlite_url)
    api = new_api(sqlite_url)
    with api.http.running():
        api.submit("k")
        told = [name.split(" ") for name in samples(api.http.get("/metrics").text)]
    labels = {name: {part.partition("=")[0] for part in more} for name, *more in told}
    for alert, rule in ALERTS.items():
        for found in selectors(promql_parser.parse(rule["expr"])):
            assert found.name in labels, (alert, found.name)
            asked = {matcher.name for matcher in found.matchers.matchers}
            assert asked <= labels[found.name], (alert, found.name)
    assert len({group["name"] for group in GROUPS}) == len(GROUPS)

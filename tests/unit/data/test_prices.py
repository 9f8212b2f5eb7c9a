"""The price table: every figure has a source, what has none has no price, and a deployment's own figures win."""

from __future__ import annotations

import json
import os
from decimal import Decimal
from pathlib import Path

import pytest

from millrace.data import prices
from millrace.data.prices import HOSTING, TRAINING, Prices, PricesBroken


def test_the_table_is_dated_and_names_a_source_for_every_part_of_it() -> None:
    about = prices.about()
    told = " ".join(source["what"] for source in about["sources"])
    assert about["date"]
    for region, uses in prices.shipped().items():
        for use, types in uses.items():
            assert f"{region}, {use}" in told
            assert all(price > 0 for price in types.values())


def test_a_type_without_a_source_has_no_price_and_not_a_price_of_zero() -> None:
    assert Prices().hourly("us-east-1", HOSTING, "ml.p5.48xlarge") is None
    assert Prices().hourly("eu-west-1", HOSTING, "ml.g5.2xlarge") is None
    assert Prices().hourly("us-east-1", HOSTING, "ml.g5.2xlarge") == Decimal("1.515")


def test_a_deployments_own_figures_win_and_a_change_of_them_is_seen(tmp_path: Path) -> None:
    file = tmp_path / "prices.json"
    held = Prices(str(file))
    assert held.hourly("us-east-1", TRAINING, "ml.g5.2xlarge") == Decimal("1.515")
    file.write_text(json.dumps({"prices": {"us-east-1": {TRAINING: {"ml.g5.2xlarge": "1.20", "ml.p5.48xlarge": "60"}}}}))
    assert held.hourly("us-east-1", TRAINING, "ml.g5.2xlarge") == Decimal("1.20")
    assert held.hourly("us-east-1", TRAINING, "ml.p5.48xlarge") == Decimal(60)
    assert held.hourly("us-east-1", HOSTING, "ml.g5.2xlarge") == Decimal("1.515")
    file.write_text(json.dumps({"prices": {}}))
    os.utime(file, (1, 1))
    assert held.hourly("us-east-1", TRAINING, "ml.p5.48xlarge") is None


# text, what the message names, why
BROKEN = [
    ("{}", "prices", "no table"),
    ("[1]", "prices", "no object"),
    ("not json", "prices", "no JSON"),
    ('{"prices": {"us-east-1": {"x": {"ml.a": 1.5}}}}', "us-east-1 x ml.a", "a float is not what money is"),
    ('{"prices": {"us-east-1": {"x": {"ml.a": "-1"}}}}', "us-east-1 x ml.a", "nothing costs less than nothing"),
    ('{"prices": {"us-east-1": {"x": {"ml.a": "NaN"}}}}', "us-east-1 x ml.a", "a number that is none"),
    ('{"prices": {"us-east-1": ["x"]}}', "prices", "a list where a map should be"),
]


@pytest.mark.parametrize(("text", "named", "why"), BROKEN)
def test_a_broken_table_is_refused_by_name(text: str, named: str, why: str) -> None:
    with pytest.raises(PricesBroken) as raised:
        prices.parse(text, "mine.json")
    assert "mine.json" in str(raised.value), why
    assert named in str(raised.value), why

"""A made-up workplace survey on mental health with the columns of the OSMI survey of 2014 and its kinds of dirt.

Nobody answered it: every row is drawn from a seed. Who sought treatment depends on family history and on how much work suffers,
so that a model has something to find; ages below 0 and beyond all bounds, empty states, comments that hardly anybody wrote,
and a few rows that stand there twice are what a quality report should find.
"""

import csv
import random
from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path

BEGIN = datetime(2014, 8, 27, 11, 29, 31)  # noqa: DTZ001  the survey's own column has no zone
ABSURD_AGES = (-1726, -29, -1, 329, 99999999999)
YES_NO = ("Yes", "No")
MAYBE = ("Yes", "No", "Maybe")
KNOWN = ("Yes", "No", "Don't know")
SOME = ("Yes", "No", "Some of them")
_STATES = ("CA", "NY", "TX", "WA", "IL", "OH", "MA", "")
_REMARKS = ("It depends on the team, mostly", 'My manager said "take your time"', "I would not tell anybody")
COLUMNS: Mapping[str, tuple[str, ...]] = {
    "Timestamp": (),
    "Age": (),
    "Gender": ("Male", "Male", "male", "M", "Female", "female", "F", "non-binary"),
    "Country": ("United States", "United States", "United Kingdom", "Canada", "Germany", "Netherlands"),
    "state": (),
    "self_employed": (),
    "family_history": YES_NO,
    "treatment": (),
    "work_interfere": ("Never", "Rarely", "Sometimes", "Often"),
    "no_employees": ("1-5", "6-25", "26-100", "100-500", "500-1000", "More than 1000"),
    "remote_work": YES_NO,
    "tech_company": ("Yes", "Yes", "Yes", "No"),
    "benefits": KNOWN,
    "care_options": ("Yes", "No", "Not sure"),
    "wellness_program": KNOWN,
    "seek_help": KNOWN,
    "anonymity": KNOWN,
    "leave": ("Very easy", "Somewhat easy", "Don't know", "Somewhat difficult", "Very difficult"),
    "mental_health_consequence": MAYBE,
    "phys_health_consequence": MAYBE,
    "coworkers": SOME,
    "supervisor": SOME,
    "mental_health_interview": MAYBE,
    "phys_health_interview": MAYBE,
    "mental_vs_physical": KNOWN,
    "obs_consequence": ("Yes", "No", "No", "No"),
    "comments": (),
}


def write(target: Path, parameters: Mapping[str, int]) -> None:
    """A csv of `rows` answers; about one in fifty stands there twice."""
    source = random.Random(parameters["seed"])
    row: list[str] = []
    with target.open("w", encoding="utf-8", newline="") as stream:
        lines = csv.writer(stream, lineterminator="\n")
        lines.writerow(COLUMNS)
        for number in range(parameters["rows"]):
            if not row or source.random() >= 0.02:
                row = _answer(source, number)
            lines.writerow(row)


def _answer(source: random.Random, number: int) -> list[str]:
    said = {name: source.choice(values) if values else "" for name, values in COLUMNS.items()}
    said["Timestamp"] = str(BEGIN + timedelta(seconds=61 * number))
    said["Age"] = str(source.choice(ABSURD_AGES) if source.random() < 0.006 else max(18, round(source.gauss(32, 7))))
    said["state"] = source.choice(_STATES) if said["Country"] == "United States" else ""
    said["self_employed"] = "" if source.random() < 0.015 else source.choice(("No",) * 7 + ("Yes",))
    said["treatment"] = _treatment(source, said)
    if said["treatment"] == "No" and source.random() < 0.42:
        said["work_interfere"] = ""
    said["comments"] = source.choice(_REMARKS) if source.random() < 0.13 else ""
    return list(said.values())


def _treatment(source: random.Random, said: Mapping[str, str]) -> str:
    chance = 0.2 + 0.35 * (said["family_history"] == "Yes") + 0.35 * (said["work_interfere"] in {"Sometimes", "Often"})
    return "Yes" if source.random() < chance else "No"

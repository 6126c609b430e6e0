"""The numbers of a bench, by name, and the JSON objects that tell them."""

import os
import statistics
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from scripts.local import ROOT


def percentile(values: Sequence[float], percent: float) -> float:
    """The value below which so many percent of them are."""
    ordered = sorted(values)
    return ordered[min(int(len(ordered) * percent / 100), len(ordered) - 1)]


@dataclass(slots=True)
class Numbers:
    """All that was measured, a value for each round."""

    found: dict[str, list[float]] = field(default_factory=dict)

    def note(self, name: str, value: float) -> None:
        """Keep a number, and show it."""
        self.found.setdefault(name, []).append(value)
        print(f"  {name:<66} {value:12.2f}", flush=True)

    def median(self, name: str) -> float:
        """Of all rounds."""
        return statistics.median(self.found[name])

    def has(self, name: str) -> bool:
        """Whether it was measured."""
        return name in self.found

    def told(
        self,
        question: str,
        *,
        unit: str,
        ours: str,
        references: Mapping[str, str],
        less_is_better: bool = False,
        settings: Mapping[str, Any],
    ) -> dict[str, Any]:
        """The answer to a question: our number, and the references' that were measured, by their names.

        A ratio is ours by the reference's, or the other way round where less is better.
        """
        value = self.median(ours)
        compared = {}
        for name, of in references.items():
            if self.has(of):
                other = self.median(of)
                ratio = other / value if less_is_better else value / other
                compared[name] = {"value": round(other, 3), "ratio": round(ratio, 3)}
        return {
            "question": question,
            "commit": _commit(),
            "unit": unit,
            "ours": round(value, 3),
            "references": compared,
            "settings": {**settings, "cores": os.cpu_count(), "load": round(os.getloadavg()[0], 1)},
        }

    def medians(self, *beginnings: str) -> dict[str, float]:
        """All medians of names that begin so."""
        return {
            name: round(statistics.median(values), 3)
            for name, values in self.found.items()
            if name.startswith(beginnings)
        }


def _commit() -> str:
    command = ["git", "rev-parse", "--short", "HEAD"]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()

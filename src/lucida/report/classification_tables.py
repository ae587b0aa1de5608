"""Methods × metrics of classifiers, for the terminal and for a page. Nothing is measured here."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence

from lucida.core.results import Metric
from lucida.report.sections import Cell, Row, Table, cell, column_words

Rows = Mapping[str, Mapping[str, Metric]]

COLUMNS = ("accuracy", "balanced_accuracy", "accuracy_few", "f1_macro", "mcc", "roc_auc", "pr_auc")
_HEADS = {
    "balanced_accuracy": "balanced",
    "accuracy_many": "many",
    "accuracy_medium": "medium",
    "accuracy_few": "few",
    "worst_class_recall": "worst class",
    "f1_macro": "F1 macro",
    "f1_weighted": "F1 weighted",
    "mcc": "MCC",
    "roc_auc": "ROC-AUC",
    "pr_auc": "PR-AUC",
    "log_loss": "log loss",
}


def _head(column: str) -> str:
    return _HEADS.get(column) or column_words(column)


def _width(text: str) -> int:
    """Columns of a terminal: wide letters take two, combining marks none."""
    return sum(0 if unicodedata.combining(c) else 1 + (unicodedata.east_asian_width(c) in "WF") for c in text)


def _measured(rows: Rows, columns: Sequence[str]) -> list[str]:
    return [column for column in columns if any(column in metrics for metrics in rows.values())]


def as_table(rows: Rows, columns: Sequence[str] = COLUMNS) -> str:
    """Methods and metrics with their 95 % intervals as aligned text; columns that no method has are left out.

    >>> print(as_table({"plain": {"accuracy": Metric(0.995, (0.988, 0.998))}, "chance": {"accuracy": Metric(0.5)}}))
    method  accuracy
    plain   99.5 % [98.8, 99.8]
    chance  50.0 %
    """
    shown = _measured(rows, columns)
    lines = [["method", *map(_head, shown)]]
    for name, metrics in rows.items():
        cells = [cell(column, metrics.get(column)) for column in shown]
        lines.append(
            [name, *(f"{one.text or '–'} {one.small}".replace("\N{NO-BREAK SPACE}", " ").strip() for one in cells)]
        )
    widths = [max(map(_width, column)) for column in zip(*lines, strict=True)]
    padded = ([text + " " * (width - _width(text)) for text, width in zip(line, widths, strict=True)] for line in lines)
    return "\n".join("  ".join(line).rstrip() for line in padded)


def confusion_table(title: str, counts: Sequence[Sequence[int]], names: Sequence[str]) -> Table:
    """A confusion matrix: a row each true class, a column each class it was called; the share of the row below."""
    rows = []
    for name, line in zip(names, counts, strict=True):
        total = sum(line)
        cells = (Cell(f"{int(n):,}", f"{100 * n / total:.0f}\N{NO-BREAK SPACE}%" if total else "") for n in line)
        rows.append(Row(name, tuple(cells)))
    return Table(title, tuple(names), tuple(rows), "Rows are true classes, columns what they were called.")

"""``report.html``: one page, without scripts or network, drawn from what a run folder holds."""

from __future__ import annotations

import json
import math
import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from lucida.core.results import Metric, Results, read_json, write_text
from lucida.core.run_folder import RunFolder
from lucida.report import looking, sections
from lucida.report.adaptation import adaptation_figures, adaptation_lead, adaptation_table
from lucida.report.figures import Line, bar_plot, calibration_plot, kind_bars, line_plot
from lucida.report.glossary import entries
from lucida.report.instructions import instruction_figures, instruction_lead, instruction_table
from lucida.report.material import Curve, Example, Material, TrainableRow, data_uri
from lucida.report.remedy import remedy_figures, remedy_lead, remedy_table
from lucida.report.sections import Figure
from lucida.report.wording import capitalised, duration, full, humanised, is_share, left_out_name, number

_WHERE = {"kind", "step", "examples", "seconds", "epoch"}
_SKIPPED_SHOWN = 20


@dataclass(frozen=True)
class Section:
    """A part of the page with its entry in the navigation; without content it does not appear."""

    id: str
    title: str
    template: str
    content: Mapping[str, Any]
    lead: str = ""

    def __bool__(self) -> bool:
        return any(self.content.values())


@dataclass(frozen=True)
class Run:
    """Everything a report is made from."""

    folder: RunFolder
    results: Results
    material: Material
    environment: Mapping[str, Any] = field(default_factory=dict)
    config: Mapping[str, Any] = field(default_factory=dict)
    skipped: tuple[Mapping[str, Any], ...] = ()

    @classmethod
    def read(cls, folder: RunFolder) -> Run:
        """Read a run folder; only ``results.json`` must be there.

        Raises:
            LucidaError: a file is broken, or there are no results.
        """
        return cls(
            folder,
            folder.load_results(),
            Material.load(folder),
            read_json(folder.environment) if folder.environment.exists() else {},
            read_json(folder.config) if folder.config.exists() else {},
            tuple(read_rows(folder.skipped)),
        )


def write_report(folder: RunFolder) -> Path:
    """Rebuild ``report.html`` from ``results.json``, ``material.json``, the thumbnails and the logs of a run.

    Returns:
        The path of the page.

    Raises:
        LucidaError: there are no results, or a file is broken.
    """
    run = Run.read(folder)
    return write_page(run, _sections(run), headlines=_headlines(run), facts=facts_of(run))


def write_page(
    run: Run, parts: Iterable[Section], *, headlines: Sequence[sections.Headline], facts: Sequence[tuple[str, str]]
) -> Path:
    """Write ``report.html`` of a run: see :func:`framed`; returns its path."""
    page = framed(run.folder, run.material, parts, headlines=headlines, facts=facts)
    write_text(run.folder.report, page)
    return run.folder.report


def framed(
    folder: RunFolder,
    material: Material,
    parts: Iterable[Section],
    *,
    headlines: Sequence[sections.Headline] = (),
    facts: Sequence[tuple[str, str]] = (),
) -> str:
    """Sections in the frame that all reports share: title, navigation, large numbers, facts; empty ones do not appear.

    Args:
        folder: holds the thumbnails.
        material: gives title and summary.
        parts: from top to bottom.
        facts: lines below the title, each with its term.
    """
    page = _templates(folder).get_template("page.html")
    shown = [part for part in parts if part]
    return page.render(material=material, sections=shown, headlines=headlines, facts=facts, style=_style())


def _templates(folder: RunFolder) -> Environment:
    # Every template escapes: captions and file names are other people's text.
    templates = Environment(
        loader=PackageLoader("lucida.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.globals["picture"] = lambda thumbnail: data_uri(folder, thumbnail)
    templates.filters |= {"marked": marked, "count": lambda n: f"{n:,}", "words": humanised}
    return templates


def _style() -> Markup:
    return Markup((Path(__file__).parent / "templates" / "page.css").read_text(encoding="utf-8"))


def marked(example: Example) -> Markup:
    """An answer with the words that name what is not there marked in it."""
    if not example.made_up:
        return Markup("{}").format(example.answer)
    words = "|".join(re.escape(word) for word in sorted(example.made_up, key=len, reverse=True))
    parts = re.split(rf"\b({words})\b", example.answer, flags=re.IGNORECASE)
    return Markup("").join(
        Markup('<mark title="not in the picture">{}</mark>').format(part) if i % 2 else Markup("{}").format(part)
        for i, part in enumerate(parts)
    )


def _headlines(run: Run) -> list[sections.Headline]:
    return sections.headlines(run.results.metrics, run.material.headlines)


def facts_of(run: Run) -> list[tuple[str, str]]:
    """The lines below the title: data, date, machine."""
    facts = []
    for corpus in run.material.corpora:
        splits = ", ".join(f"{count:,} {split.replace('_', ' ')}" for split, count in corpus.counts.items())
        text = f"{corpus.n_used:,} pictures"
        if corpus.n_available is not None and corpus.n_available > corpus.n_used:
            text = f"{corpus.n_used:,} of {corpus.n_available:,} pictures were sampled"
        text += f": {splits}." if splits else "."
        if corpus.split_seed is not None:
            text += f" Splits drawn with seed {corpus.split_seed}."
        facts.append((corpus.name, f"{text} {corpus.note}".strip()))
    if run.skipped:
        facts.append(("Skipped", f"{_pictures(len(run.skipped))} could not be read; see below."))
    if started := str(run.environment.get("started") or ""):
        facts.append(("Started", started[:16].replace("T", " ")))
    machine = [run.environment.get("processor"), run.environment.get("platform")]
    if any(machine):
        facts.append(("Machine", ", ".join(str(part) for part in machine if part)))
    if run.results.seconds:
        facts.append(("Took", duration(sum(run.results.seconds.values()))))
    return facts


def _pictures(n: int) -> str:
    return "1 picture" if n == 1 else f"{n:,} pictures"


def _sections(run: Run) -> Iterable[Section]:
    metrics, material = run.results.metrics, run.material
    yield Section("examples", "What the model says", "examples.html", {"groups": _example_groups(material.examples)})
    curves = list(_curves(run))
    yield Section("learning", "How it learned", "pairs.html", {"figures": curves})
    figures = sections.zero_shot_figures(metrics)
    yield Section("zero-shot", "Naming without examples", "figures.html", {"figures": figures}, _naming_lead(figures))
    yield Section(
        "retrieval",
        "Finding pictures by words",
        "retrieval.html",
        {"table": sections.retrieval_table(metrics), "retrievals": material.retrievals},
    )
    yield Section("hallucination", "What it makes up", "hallucination.html", _hallucination(run))
    yield Section("remedy", "Grounded in the picture", "tables.html", _remedy(metrics), remedy_lead(metrics))
    yield Section("questions", "Counting and places", "figures.html", {"figures": sections.question_figures(metrics)})
    yield Section(
        "instructions", "Other kinds of instruction", "tables.html", _instructions(metrics), instruction_lead(metrics)
    )
    yield Section(
        "adaptation", "Adapted to the second artist", "tables.html", _adaptation(metrics), adaptation_lead(metrics)
    )
    yield Section("parameters", "Trainable parameters", "parameters.html", {"models": _trainable(material.trainable)})
    words = [name for name, content in (("learning", curves), ("parameters", material.trainable)) if content]
    yield from closing_sections(run, entries([*metrics, *(f"section/{word}" for word in words)]))


def _remedy(metrics: Mapping[str, Metric]) -> dict[str, Any]:
    table = remedy_table(metrics)
    return sections.drawn(figures=remedy_figures(metrics), tables=[table] if table else [])


def _instructions(metrics: Mapping[str, Metric]) -> dict[str, Any]:
    table = instruction_table(metrics)
    return {"paragraphs": [], "figures": instruction_figures(metrics), "tables": [table] if table else []}


def _adaptation(metrics: Mapping[str, Metric]) -> dict[str, Any]:
    table = adaptation_table(metrics)
    return sections.drawn(figures=adaptation_figures(metrics), tables=[table] if table else [])


def closing_sections(run: Run, words: Sequence[tuple[str, str]]) -> Iterable[Section]:
    """What every report ends with: cost, what was left out, how to repeat it, a glossary of ``words``, all numbers."""
    yield Section("cost", "What it cost", "cost.html", _cost(run))
    yield Section("left-out", "What was left out", "left_out.html", _left_out(run))
    yield Section("repeat", "How to repeat this run", "repeat.html", _repeat(run))
    yield Section("glossary", "What the words mean", "glossary.html", {"entries": words})
    yield Section("numbers", "All numbers", "numbers.html", {"rows": _all_numbers(run.results.metrics)})


def _naming_lead(figures: Iterable[Figure]) -> str:
    ring = "rings the frozen start, " if any("mark start" in figure.svg for figure in figures) else ""
    return (
        "Each picture is compared with the names of all candidates, and the nearest name is the answer. Filled dots "
        f"are this run, {ring}upright bars what needs no model; lines are 95 % intervals."
    )


def _example_groups(examples: Iterable[Example]) -> dict[str, list[Example]]:
    groups: dict[str, list[Example]] = {}
    for example in examples:
        groups.setdefault(example.group, []).append(example)
    return groups


# Curves


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The whole rows of a ``.jsonl`` file; a last line that a kill cut short is left out, a missing file has none."""
    if not path.exists():
        return []
    rows = []
    for line in path.read_text(encoding="utf-8", errors="replace").split("\n"):
        row = _parsed(line)
        if row is not None:
            rows.append(row)
    return rows


def _parsed(line: str) -> dict[str, Any] | None:
    try:
        row = json.loads(line)
    except json.JSONDecodeError:
        return None
    return row if isinstance(row, dict) else None


def _series(rows: Iterable[Mapping[str, Any]], kind: str, measure: str) -> tuple[list[float], list[float]]:
    """Steps and values of one measure, without the rows that lack it."""
    pairs = [
        (float(row["step"]), float(row[measure]))
        for row in rows
        if row.get("kind", "train") == kind
        and all(isinstance(row.get(k), int | float) and math.isfinite(row[k]) for k in ("step", measure))
    ]
    return [x for x, _ in pairs], [y for _, y in pairs]


def _curves(run: Run) -> Iterable[Figure]:
    for curve in run.material.curves:
        rows = read_rows(run.folder.path / curve.path)
        loss = _loss_figure(curve, rows)
        if loss is not None:
            yield loss
        measured = {k: None for row in rows if row.get("kind") == "validation" for k in row if k not in _WHERE}
        others = [m for m in measured if m != curve.measure][:2] if curve.validation is None else curve.validation
        for measure in others:
            x, y = _series(rows, "validation", measure)
            if len(x) > 1:
                title = f"{curve.stage}: {humanised(measure)}"
                svg = line_plot(title, [Line("validation", x, y)], x_label="steps", share=is_share(measure))
                last = number(y[-1], share=is_share(measure))
                yield Figure(title, svg, f"Measured on validation pictures while training; {last} at the end.")


def _loss_figure(curve: Curve, rows: list[dict[str, Any]]) -> Figure | None:
    lines = []
    x, y = _series(rows, "train", curve.measure)
    if len(x) > 1:
        lines.append(Line("training", x, y, noisy=True))
    x, y = _series(rows, "validation", curve.measure)
    if x and lines:
        lines.append(Line("validation", x, y))
    if not lines:
        return None
    title = f"{curve.stage}: {curve.measure.replace('_', ' ')}"
    caption = "Training (thin: every logged step, line: smoothed)"
    if len(lines) > 1:
        caption += (
            " and validation; a validation curve that turns up while training still falls would mean learning by heart"
        )
    return Figure(title, line_plot(title, lines, x_label="steps"), caption + ".")


# The other sections


def _hallucination(run: Run) -> dict[str, Any]:
    metrics = run.results.metrics
    parts = sections.pope_parts(metrics)
    return {
        "accuracy": [figure for figure in map(sections.pope_figure, parts) if figure],
        "pope": sections.pope_table(parts),
        "chair": sections.chair_table(metrics),
        "caption_facts": looking.caption_facts_table(metrics),
        "kinds": list(_kinds(run.material)),
        "trust": [
            *looking.blind_figures(metrics),
            *looking.twin_figures(metrics),
            *_calibration(run.material),
            *looking.risk_figures(metrics),
        ],
    }


def _kinds(material: Material) -> Iterable[Figure]:
    made_up = "Share of the times the kind was absent and still named or affirmed; the worst kinds."
    if svg := kind_bars("Most often made up", material.kinds, "made_up"):
        yield Figure("Most often made up", svg, made_up)
    missed = "Share of the times the kind was there and denied or left out; the worst kinds."
    if svg := kind_bars("Most often missed", material.kinds, "missed"):
        yield Figure("Most often missed", svg, missed)


def _calibration(material: Material) -> Iterable[Figure]:
    bins = [b for b in material.calibration if b.n]
    if bins:
        caption = "Larger points stand for more answers; below the diagonal the model is surer than it is right."
        yield Figure("Its confidence against the truth", calibration_plot("Calibration", bins), caption)


def _trainable(rows: Iterable[TrainableRow]) -> dict[str, list[TrainableRow]]:
    models: dict[str, list[TrainableRow]] = {}
    for row in rows:
        models.setdefault(row.model, []).append(row)
    return models


def _cost(run: Run) -> dict[str, Any]:
    titles, seconds = run.material.stage_titles, run.results.seconds
    rows = [(titles.get(s, capitalised(s.replace("_", " "))), value, duration(value)) for s, value in seconds.items()]
    caption = f"{duration(sum(seconds.values()))} in all; stages in their order."
    figures = [Figure("Time by stage", bar_plot("Time by stage", rows), caption)] if rows else []
    facts = [(f"{capitalised(k)}", f"{number(v)} pictures/s") for k, v in run.material.pictures_per_second.items()]
    if run.results.peak_mb:
        facts.insert(0, ("Peak memory", f"{run.results.peak_mb:,.0f} MB"))
    return {"figures": figures, "facts": facts}


def _left_out(run: Run) -> dict[str, Any]:
    return {
        "reasons": [(capitalised(left_out_name(name)), reason) for name, reason in run.results.left_out.items()],
        "skipped": run.skipped[:_SKIPPED_SHOWN],
        "n_skipped": len(run.skipped),
    }


def _repeat(run: Run) -> dict[str, Any]:
    recorded = run.environment.get("command") or []
    command = run.material.command or (shlex.join(["lucida", *map(str, recorded)]) if recorded else "")
    seeds = [("Seed", str(run.environment["seed"]))] if "seed" in run.environment else []
    seeds += [(f"Split seed, {c.name}", str(c.split_seed)) for c in run.material.corpora if c.split_seed is not None]
    versions = ", ".join(f"{n} {v}" for n, v in (run.environment.get("versions") or {}).items() if v)
    commit = str(run.environment.get("commit") or "")
    if commit and run.environment.get("uncommitted_changes"):
        commit += " with uncommitted changes"
    facts = [*seeds, ("Commit", commit), ("Python", str(run.environment.get("python") or "")), ("Packages", versions)]
    credits = [f"{c.name}: {c.credit}" for c in run.material.corpora if c.credit] + list(run.material.credits)
    return {
        "command": command,
        "facts": [fact for fact in facts if fact[1]],
        "credits": list(dict.fromkeys(credits)),
        "config": json.dumps(run.config, indent=2, ensure_ascii=False) if run.config else "",
    }


def _all_numbers(metrics: Mapping[str, Metric]) -> list[tuple[str, str]]:
    return [(name, full(metric, share=is_share(name))) for name, metric in metrics.items()]

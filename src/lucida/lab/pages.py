"""From an experiment to its ``results.json``: run it, judge its claims, keep what its page is drawn from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lucida.core.config import to_dict
from lucida.core.results import Metric, Results
from lucida.lab.datasets import named_pictures, own_pictures
from lucida.lab.design import Scale
from lucida.lab.experiment import MOST_EXTENSIONS, ORIGIN, Bench, Experiment, Reservation
from lucida.lab.observations import Observations
from lucida.lab.verdict import Judgement, judge
from lucida.report.lab_page import ExperimentPage, Ruling, page_values

FIRST_SEED: dict[Scale, int] = {"quick": 0, "full": 3000}  # who develops runs quick: no published seed was seen before
_WORDS_ZH = {"supported": "成立", "refuted": "不成立", "depends": "视情况而定", "inconclusive": "尚无定论"}


def run_experiment(experiment: Experiment, scale: Scale, seeds: int | None = None) -> Results:
    """Measure, judge and collect; parts that are in the cache are not measured again.

    Args:
        seeds: how many; by default what the design says for the scale.
    """
    design, settings = experiment.design, experiment.settings[scale]
    count = design.seeds[scale] if seeds is None else seeds
    bench = Bench(experiment, tuple(range(FIRST_SEED[scale], FIRST_SEED[scale] + count)))
    results = Results()
    observations = experiment.measure(bench, settings)
    results.seconds["measured"] = bench.seconds
    differences = {claim.name: observations.differences(claim) for claim in design.claims}
    judgements = judge(design.claims, differences, {claim.name: observations.cut_off(claim) for claim in design.claims})
    for name, metric in _metrics(observations, judgements, bench).items():
        results.add(name, metric)
    for name, reason in observations.left_out.items():
        results.leave_out(name, reason)
    page = _page(experiment, scale, judgements, observations, bench)
    results.details = {
        "page": page_values(page),
        "design": to_dict(design),
        "settings": to_dict(settings),
        "rates": {arm: {f"{rate:.6g}": score for rate, score in table.items()} for arm, table in bench.rates.items()},
        "parts": {"remembered": bench.remembered, "measured": bench.measured},
        "speed": dict(bench.speed),
        "observations": observations.values(),
        "reservations": bench.reservations,
        "environment": bench.environment,
        "measured_at": _origins(bench),
    }
    return results


def _metrics(observations: Observations, judgements: Sequence[Judgement], bench: Bench) -> dict[str, Metric]:
    metrics = observations.metrics()
    for judgement in judgements:
        name = f"claim/{judgement.claim.name}/effect"
        metrics[name] = judgement.effect
        metrics |= {f"{name}/{level}": effect for level, (effect, _) in judgement.levels.items()}
    return metrics | {f"rate/{arm}": Metric(rate) for arm, rate in bench.chosen.items()}


def _page(
    experiment: Experiment, scale: Scale, judgements: Sequence[Judgement], observations: Observations, bench: Bench
) -> ExperimentPage:
    design, seeds, sections = experiment.design, len(bench.seeds), experiment.present(observations)
    rulings = tuple(_ruling(j) for j in sorted(judgements, key=lambda j: not j.claim.primary))
    text, text_zh = _answer(experiment, rulings)
    keys = [f"part-{k}" for k in range(1, len(sections) + 1)]
    drawings = [
        type(drawing)(**{**drawing.__dict__, "section": key})
        for key, section in zip(keys, sections, strict=True)
        for drawing in section.drawings
    ]
    return ExperimentPage(
        name=design.name,
        title=design.title,
        question=design.question,
        question_zh=design.question_zh,
        answer=text,
        answer_zh=text_zh,
        rulings=rulings,
        design=_design_rows(experiment, bench),
        drawings=tuple(drawings),
        sections={key: (section.title, section.text) for key, section in zip(keys, sections, strict=True)},
        would_change=design.would_change,
        sources=design.sources,
        scale=scale,
        seeds=seeds,
        design_hash=design.hash(experiment.settings[scale], seeds),
        rerun=_command(experiment, scale, seeds),
    )


def _command(experiment: Experiment, scale: Scale, seeds: int) -> str:
    """What measures the same again; whoever named pictures names them again."""
    words = [f"lucida lab run {experiment.design.name} --scale {scale}"]
    words += [f"--seeds {seeds}"] if seeds != experiment.design.seeds[scale] else []
    words += ["--pictures YOUR_PICTURES"] if named_pictures() is not None else []
    return " ".join(words)


def _ruling(judgement: Judgement) -> Ruling:
    claim = judgement.claim
    return Ruling(
        name=claim.name,
        statement=claim.statement,
        statement_zh=claim.statement_zh,
        prediction=claim.prediction,
        measure=claim.unit,
        smallest_effect=claim.smallest_effect,
        word=judgement.word,
        primary=claim.primary,
        power=judgement.power,
        false_support=judgement.false_support,
        confidence=judgement.confidence,
        interaction=judgement.interaction,
        share=claim.share,
        levels={level: word for level, (_, word) in judgement.levels.items()},
        moderator=claim.moderator,
        arms=(claim.treatment, claim.control),
        censored=judgement.cut,
    )


def _design_rows(experiment: Experiment, bench: Bench) -> tuple[tuple[str, str], ...]:
    design = experiment.design
    rows = [("Data", design.data), ("Networks", design.networks)]
    rows += [("Your pictures", own_pictures().note)] if named_pictures() is not None else []
    rows += [(f"Varied: {name}", values) for name, values in design.factors.items()]
    rows += [("Held fixed", "; ".join(design.held_fixed))]
    first, last = bench.seeds[0], bench.seeds[-1]
    varied = (
        "weights, split of the one data set, order of the examples: of these the intervals speak, not of other data"
    )
    if not bench.speed:  # nothing was trained
        varied = "all that is drawn at random, and of that the intervals speak"
    rows += [("Seeds", f"{len(bench.seeds)} ({first} to {last}): {varied}")]
    if bench.rates:
        first, last = bench.tuning_seeds[0], bench.tuning_seeds[-1]
        told = (
            f"other seeds ({first} to {last}): other splits" if last > first else f"another seed ({first}): its split"
        )
        rows += [("Learning rates", f"each arm's own, tuned on {told} of the same examples")]
    rows += [(title, "; ".join(arms)) for title, arms in _reserved(bench)]
    return tuple(rows)


_RESERVATIONS: dict[Reservation, str] = {
    "not sound": "At the best rate not every tuning seed stayed finite and ended below its first loss",
    "at the end of the grid": f"Best rate at the end of the grid, after {MOST_EXTENSIONS} extensions of it",
    "tied": "Rates of equal score (the lower training loss decided)",
}


def _reserved(bench: Bench) -> list[tuple[str, list[str]]]:
    """What is to be said of rates, and of which arms."""
    found = [(title, [arm for arm, own in bench.reservations.items() if own == kind])
             for kind, title in _RESERVATIONS.items()]  # fmt: skip
    return [(title, arms) for title, arms in found if arms]


def _origins(bench: Bench) -> list[dict[str, Any]]:
    """Commits and machines the parts were measured at, each once."""
    found = {tuple(origin.get(key) for key in ORIGIN) for origin in bench.origins.values()}
    return [dict(zip(ORIGIN, values, strict=True)) for values in sorted(found, key=str)]


def _answer(experiment: Experiment, rulings: Sequence[Ruling]) -> tuple[str, str]:
    """What the author wrote for these verdicts; without such words, the verdicts themselves."""
    for answer in experiment.answers:
        if answer.fits(rulings):
            return answer.text, answer.text_zh
    primary = [ruling for ruling in rulings if ruling.primary]
    forms = {ruling.name: "points ci" if ruling.share else "ci" for ruling in primary}
    numbers = {name: f"{{claim/{name}/effect:{form}}}" for name, form in forms.items()}
    english = [f"“{r.statement}”: {r.word} ({numbers[r.name]}; {r.measure})." for r in primary]
    chinese = [f"“{r.statement_zh}”：{_WORDS_ZH[r.word]}（{numbers[r.name]}）。" for r in primary]
    return " ".join(english), "".join(chinese)

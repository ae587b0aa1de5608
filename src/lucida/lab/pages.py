"""From an experiment to its ``results.json``: run it, judge its claims, keep what its page is drawn from."""

from __future__ import annotations

from collections.abc import Sequence

from lucida.core.config import to_dict
from lucida.core.results import Metric, Results
from lucida.core.run_folder import environment
from lucida.lab.design import Scale
from lucida.lab.experiment import Bench, Experiment, Section
from lucida.lab.observations import Observations
from lucida.lab.verdict import Judgement, judge
from lucida.report.lab_page import ExperimentPage, Ruling, page_values

FIRST_SEED: dict[Scale, int] = {"quick": 0, "full": 2000}  # who develops runs quick: no published seed was seen before
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
    judgements = judge(design.claims, {claim.name: observations.differences(claim) for claim in design.claims})
    for name, metric in _metrics(observations, judgements, bench).items():
        results.add(name, metric)
    for name, reason in observations.left_out.items():
        results.leave_out(name, reason)
    page = _page(experiment, scale, count, judgements, experiment.present(observations), bench)
    results.details = {
        "page": page_values(page),
        "design": to_dict(design),
        "settings": to_dict(settings),
        "rates": {arm: {f"{rate:.6g}": score for rate, score in table.items()} for arm, table in bench.rates.items()},
        "parts": {"remembered": bench.remembered, "measured": bench.measured},
        "speed": {what: list(speed) for what, speed in bench.speed.items()},
        "observations": observations.values(),
        "environment": environment(seed=0),
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
    experiment: Experiment,
    scale: Scale,
    seeds: int,
    judgements: Sequence[Judgement],
    sections: Sequence[Section],
    bench: Bench,
) -> ExperimentPage:
    design = experiment.design
    text, text_zh = _answer(experiment, judgements)
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
        rulings=tuple(_ruling(judgement) for judgement in sorted(judgements, key=lambda j: not j.claim.primary)),
        design=_design_rows(experiment, bench),
        drawings=tuple(drawings),
        sections={key: (section.title, section.text) for key, section in zip(keys, sections, strict=True)},
        would_change=design.would_change,
        sources=design.sources,
        scale=scale,
        seeds=seeds,
        design_hash=design.hash(experiment.settings[scale], seeds),
        rerun=f"lucida lab run {design.name} --scale {scale}" + _seeds_option(experiment, scale, seeds),
    )


def _seeds_option(experiment: Experiment, scale: Scale, seeds: int) -> str:
    return "" if seeds == experiment.design.seeds[scale] else f" --seeds {seeds}"


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
    )


def _design_rows(experiment: Experiment, bench: Bench) -> tuple[tuple[str, str], ...]:
    design = experiment.design
    rows = [("Data", design.data), ("Networks", design.networks)]
    rows += [(f"Varied: {name}", values) for name, values in design.factors.items()]
    rows += [("Held fixed", "; ".join(design.held_fixed))]
    first, last = bench.seeds[0], bench.seeds[-1]
    rows += [("Seeds", f"{len(bench.seeds)} ({first} to {last}): weights, split and order of the examples")]
    if bench.rates:
        first, last = bench.tuning_seeds[0], bench.tuning_seeds[-1]
        rows += [("Learning rates", f"each arm's own, tuned on seeds {first} to {last}, which no result uses")]
    return tuple(rows)


def _answer(experiment: Experiment, judgements: Sequence[Judgement]) -> tuple[str, str]:
    """What the author wrote for these verdicts; without such words, the verdicts themselves."""
    primary = [judgement for judgement in judgements if judgement.claim.primary]
    words = tuple(judgement.word for judgement in primary)
    for answer in experiment.answers:
        if answer.words == words:
            return answer.text, answer.text_zh
    english = [f"“{j.claim.statement}”: {j.word} ({{claim/{j.claim.name}/effect:ci}} {j.claim.unit})." for j in primary]
    chinese = [
        f"“{j.claim.statement_zh}”：{_WORDS_ZH[j.word]}（{{claim/{j.claim.name}/effect:ci}}）。" for j in primary
    ]
    return " ".join(english), "".join(chinese)

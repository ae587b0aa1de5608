"""The wording that serves a frozen model best, within a number of model calls, and an honest estimate of how well.

Successive halving (Jamieson & Talwalkar 2016): many templates on few examples, the better half on more, and so on.
Then steps in the grammar from the best one: its neighbours, one rule changed, are halved against it. All of this looks
at one half of the labelled examples; what is reported of the best templates is measured on the other half, as the best
of many noisy scores is too good by the luck it was chosen for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import ceil, log2

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lucida.core.errors import LucidaError
from lucida.core.seeds import stream
from lucida.data.prompt_grammar import PromptGrammar
from lucida.inference.prompting import AnswerScorer, Example, HardPrompt, balanced_order

TemplateScores = Callable[[Sequence[str], Sequence[int]], ArrayLike]
"""Scores ``[T, n]`` of templates on labelled examples given by number, larger is better; T · n model calls."""

_FEWEST = 4  # examples of the first round of halving, if there are so many
_DRAWN = 2 / 3  # share of the calls for templates drawn from the grammar; the rest is for steps from the best one


@dataclass(frozen=True)
class RankedTemplate:
    """A template and what was measured of it.

    Attributes:
        template: as the grammar writes it.
        score: the mean over ``n`` examples, on which it was chosen: too good for the best ones.
        n: so many; fewer for those that halving left behind.
        estimate: the mean over ``n_estimate`` other examples; None where it was not measured.
        n_estimate: so many.
    """

    template: str
    score: float | None
    n: int
    estimate: float | None = None
    n_estimate: int = 0


@dataclass(frozen=True)
class FoundPrompts:
    """What a search found.

    Attributes:
        ranked: all templates that were tried, the best first: by the examples they lasted for, then by their score,
            then by their place in the grammar. Who chooses among several by ``estimate`` makes it a score.
        calls: model calls that were made, one for a template and an example.
    """

    ranked: tuple[RankedTemplate, ...]
    calls: int

    @property
    def best(self) -> RankedTemplate:
        """The first."""
        return self.ranked[0]


def search_prompts(
    grammar: PromptGrammar,
    score: TemplateScores,
    answers: Sequence[str],
    *,
    budget: int,
    keep: int = 4,
    seed: int = 0,
) -> FoundPrompts:
    """Search for the best template.

    Args:
        grammar: of the templates; its first one takes part to the end in any case.
        score: of templates on labelled examples (:func:`template_scores`).
        answers: of the labelled examples, in the order of their numbers: both halves get as many of each. Without any
            example the first template is taken, unmeasured; with one, there is nothing left for an estimate.
        budget: most model calls, those for the estimates included.
        keep: templates of which an estimate is reported, as far as a quarter of the budget pays for it; one at least.
        seed: of the halves and the draws.

    Raises:
        LucidaError: the budget does not pay for one template on all examples, or scores are not finite or of another
            shape.
    """
    if not answers:
        return FoundPrompts((RankedTemplate(grammar.templates[0], None, 0),), 0)
    selection, held_out = halves(answers, seed)
    n, other = len(selection), len(held_out)
    if budget < n + other:
        what = f"{budget} calls do not pay for one template on {n + other} examples"
        raise LucidaError(what, where="budget", remedy="allow more, or give fewer examples")
    kept = max(1, min(keep, budget // 4 // other) if other else keep)
    search = _Search(grammar, score, selection, budget - kept * other, seed)
    search.run()
    ranked, calls = search.ranked(), search.calls
    finished = [each for each in ranked if each.n == n][:kept]
    if other:
        means = _scores(score, [each.template for each in finished], held_out).mean(axis=1).tolist()
        calls += len(finished) * other
        for i, (each, mean) in enumerate(zip(finished, means, strict=True)):
            ranked[i] = replace(each, estimate=mean, n_estimate=other)
    return FoundPrompts(tuple(ranked), calls)


def halves(answers: Sequence[str], seed: int) -> tuple[list[int], list[int]]:
    """Labelled examples to choose by and to estimate by, at random, with as many of each answer (or one more) in both.

    Of an odd number the first half gets the odd one. It is in an order of which every beginning is balanced over the
    answers.
    """
    keys = stream(seed, "halves").random(len(answers))
    order = sorted(range(len(answers)), key=lambda i: (answers[i], keys[i]))
    chosen = order[0::2]
    by_answer = balanced_order([answers[i] for i in chosen], keys[chosen])
    return [chosen[i] for i in by_answer], order[1::2]


class _Search:
    """Scores so far, and what is left of the calls."""

    def __init__(self, grammar: PromptGrammar, score: TemplateScores, rows: list[int], calls: int, seed: int):
        self.grammar, self.score, self.rows, self.allowed, self.seed = grammar, score, rows, calls, seed
        self.calls = 0
        self.seen: dict[str, NDArray[np.float64]] = {}
        self.place = {template: i for i, template in enumerate(grammar.templates)}

    def run(self) -> None:
        """Halve what is drawn, then neighbours of the best template, and of the next best where it has no more."""
        first = self.grammar.templates[0]
        drawn = [first, *(t for t in self.grammar.sample(len(self.grammar), self.seed) if t != first)]
        self.halve(drawn, max(len(self.rows), int(_DRAWN * self.allowed)))
        calls = -1
        while calls < self.calls:
            calls, left = self.calls, self.allowed - self.calls
            pool = [self._finished()[0], *self._untried()]
            self.halve(pool, left // 2)  # something is left for the neighbours of the next one
            if self.calls == calls:
                self.halve(pool, left)

    def _finished(self) -> list[str]:
        """The templates that have seen all examples, the best first."""
        n = len(self.rows)
        return self._sorted([template for template, values in self.seen.items() if len(values) == n], n)

    def _untried(self) -> list[str]:
        """New neighbours of the best template that has any, in random order."""
        for template in self._finished():
            near = [each for each in self.grammar.neighbours(template) if each not in self.seen]
            if near:
                order = stream(self.seed, "neighbours", self.place[template]).permutation(len(near))
                return [near[i] for i in order]
        return []

    def halve(self, pool: list[str], calls: int) -> None:
        """Let as many of the pool, from its beginning, as the calls pay for see examples, the better half ever more.

        The first of the pool, the one to beat, sees all in any case.
        """
        n, end = len(self.rows), self.calls + calls
        first, pool = pool[:1], pool[: self._affordable(pool, calls)]
        if self._cost(pool, n) > calls:
            m = 0
            while len(pool) > 2:
                share = (end - self.calls - 2 * n - self._cost(first, n)) // ceil(log2(len(pool)))
                m = max(k for k in range(m, n + 1) if self._cost(pool, k) <= share)
                self._look(pool, m)
                pool = self._sorted(pool, m)[: ceil(len(pool) / 2)]
        self._look([*dict.fromkeys(first + pool)], n)

    def _affordable(self, pool: Sequence[str], calls: int) -> int:
        """How many templates: all on all examples, or halved from a few on, so that two and the first see all."""
        n, fewest = len(self.rows), min(len(self.rows), _FEWEST)
        left = calls - self._cost(pool[:1], n)
        halved = [s for s in range(2, len(pool) + 1) if s * fewest * ceil(log2(s)) + 2 * n <= left]
        return max(1, left // n + 1, *halved[-1:])

    def _cost(self, pool: Sequence[str], m: int) -> int:
        return sum(max(0, m - len(self.seen.get(template, ()))) for template in pool)

    def _look(self, pool: Sequence[str], m: int) -> None:
        """See all of the pool on the first ``m`` examples."""
        for done in sorted({len(self.seen.get(template, ())) for template in pool}):
            some = [template for template in pool if len(self.seen.get(template, ())) == done]
            if done < m:
                found = _scores(self.score, some, self.rows[done:m])
                self.calls += found.size
                for template, values in zip(some, found, strict=True):
                    self.seen[template] = np.concatenate([self.seen.get(template, np.zeros(0)), values])

    def _sorted(self, pool: Sequence[str], m: int) -> list[str]:
        return sorted(pool, key=lambda template: (-self.seen[template][:m].mean(), self.place[template]))

    def ranked(self) -> list[RankedTemplate]:
        """All that were seen, the best first."""
        order = sorted(self.seen, key=lambda t: (-len(self.seen[t]), -self.seen[t].mean(), self.place[t]))
        return [RankedTemplate(t, float(self.seen[t].mean()), len(self.seen[t])) for t in order]


def _scores(score: TemplateScores, templates: Sequence[str], rows: Sequence[int]) -> NDArray[np.float64]:
    found = np.asarray(score(templates, rows), np.float64)
    if found.shape != (len(templates), len(rows)) or not np.isfinite(found).all():
        what = f"finite scores {[len(templates), len(rows)]} are needed, not {list(found.shape)}"
        raise LucidaError(what, where="score")
    return found


def template_scores(scorer: AnswerScorer, examples: Sequence[Example], *, right_only: bool = False) -> TemplateScores:
    """The log-probability of the true answer among those to choose from: with few labels smoother than being right.

    Args:
        scorer: the frozen model.
        examples: labelled.
        right_only: 1 where the true answer is the most probable, 0 elsewhere.

    Raises:
        LucidaError: an example's answer is none of those to choose from.
    """
    places = {answer: i for i, answer in enumerate(scorer.answers)}
    for row, example in enumerate(examples):
        if example.answer not in places:
            raise LucidaError(f"{example.answer!r} is none of the answers", where=f"row {row}")

    def scores(templates: Sequence[str], rows: Sequence[int]) -> NDArray[np.float64]:
        prompts = [HardPrompt(template) for template in templates]
        asked = [dialogue for prompt in prompts for row in rows for dialogue in prompt.dialogues(examples[row])]
        logs = scorer(asked).log_likelihoods.double().log_softmax(dim=-1).view(len(templates), len(rows), -1).numpy()
        true = np.array([places[examples[row].answer] for row in rows])
        if right_only:
            return (logs.argmax(axis=-1) == true).astype(np.float64)
        return np.take_along_axis(logs, np.broadcast_to(true[:, None], (*logs.shape[:2], 1)), axis=-1)[..., 0]

    return scores

"""POPE's questions about a picture: shared beginnings beside one `generate` a question, and beside batched `generate`.

    python benchmarks/pope_answers.py [--out docs/results/benchmarks/pope-answers.json]

The LLaVA of `benchmarks/lora_tuning.py` (60 million parameters, random weights, 65 tokens of a picture), 12 pictures
with 1 to 18 questions each ("is there a w17 in the image?"), greedy answers of 4 tokens (a random model never ends),
float32. Three ways, in turn: one `generate` a question, `generate` in batches of 16 (both through the processor, as
anyone would), and `lucida.inference.shared_answers`; all three from files of pictures to texts. Answers must be
identical, but where the two best tokens of a step are closer than 1e-4: those are counted.

What bounds it, in operations of an answer (two a weight and token): the tower 65 tokens · 21.3·10^6 · 2 = 2.8·10^9,
the picture's tokens in the language model 65 · 14.2·10^6 · 2 = 1.8·10^9, question and answer about 14 tokens, 0.4·10^9,
and the vocabulary 4 · 12.3·10^6 · 2 = 0.1·10^9. With q questions a picture the first two are shared by q: 5.1·10^9
against 4.6·10^9 / q + 0.5·10^9 is 4.0 times at 6 questions, 6.8 at 18, in operations alone. Beside them a single row
reads all weights of the language model (106 MB) for each token it says, which a batch reads once for all rows, and
every `generate` call prepares and checks its options.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from lora_tuning import make
from PIL import Image

from lucida.core.results import Metric, Results
from lucida.core.run_folder import environment
from lucida.data.chat_tokens import ChatTokens
from lucida.data.decoding import FileSource
from lucida.inference.chat_answers import Asked, answer_chats
from lucida.inference.dialogue_readers import ChatTokensReader
from lucida.inference.prompting import Dialogue
from lucida.inference.shared_answers import shared_answers
from lucida.models.image_text_models import load_image_text_model
from lucida.models.seen_pictures import LivePictures

PICTURES, QUESTIONS, LONGEST, ROUNDS, CLOSE = 12, (1, 3, 6, 18), 4, 2, 1e-4
WAYS = "one by one", "in batches", "shared"


class Bench:
    """A model, its pictures, and the three ways to ask about them."""

    def __init__(self, folder: Path):
        self.model, self.processor = load_image_text_model(folder / "model")
        self.paths = [folder / f"{i}.png" for i in range(PICTURES)]
        self.margins: list[float] = []

    def asked(self, n: int) -> list[tuple[int, str]]:
        """(picture, question): all of one picture after all of the other."""
        return [(i, f"is there a w{17 * k + i} in the image?") for i in range(PICTURES) for k in range(n)]

    def generated(self, asked: list[tuple[int, str]], batch_size: int) -> list[str]:
        """By `generate`, through the processor."""
        rows = []
        for picture, question in asked:
            content = [{"type": "image"}, {"type": "text", "text": question}]
            with Image.open(self.paths[picture]) as image:
                rows.append(Asked([{"role": "user", "content": content}], [image.convert("RGB")]))
        return answer_chats(
            self.model, self.processor, rows, end_of_turn_id=2, batch_size=batch_size, max_new_tokens=LONGEST
        )

    def shared(self, asked: list[tuple[int, str]]) -> list[str]:
        """With beginnings shared."""
        tokens = ChatTokens(self.processor)
        reader = ChatTokensReader(tokens, self.paths)
        conversations = [reader.read(Dialogue((), *one), ("yes",)) for one in asked]
        counts = [tokens.image_tokens(path) for path in self.paths]
        pictures = LivePictures(
            self.model, lambda some: tokens.pixels([FileSource(str(self.paths[i])).open() for i in some]), counts
        )
        found = shared_answers(self.model, pictures, conversations, end_of_turn_id=2, max_new_tokens=LONGEST)
        self.margins = [one.margin for one in found]
        return [self.processor.tokenizer.decode(one.tokens, skip_special_tokens=True).strip() for one in found]

    def ways(self, asked: list[tuple[int, str]]) -> dict[str, Callable[[], list[str]]]:
        """By name."""
        calls = (
            lambda: self.generated(asked, 1), lambda: self.generated(asked, 16), lambda: self.shared(asked),
        )  # fmt: skip
        return dict(zip(WAYS, calls, strict=True))


def measure(bench: Bench, results: Results, n: int) -> None:
    """All ways in turn, with n questions a picture."""
    asked = bench.asked(n)
    seconds: dict[str, list[float]] = {way: [] for way in WAYS}
    said: dict[str, list[str]] = {}
    for _ in range(ROUNDS):
        for way, call in bench.ways(asked).items():
            began = time.perf_counter()
            said[way] = call()
            seconds[way].append(time.perf_counter() - began)
    close = [margin < CLOSE for margin in bench.margins]
    for way in WAYS[:2]:
        for one, other, tie in zip(said[way], said["shared"], close, strict=True):
            assert tie or one == other, f"{way}: {one!r}, shared: {other!r}"
    where = f"{n} questions a picture"
    results.add(f"{where}/close calls", Metric(sum(close), None, len(close)))
    for way in WAYS:
        results.add(f"{where}/{way}/questions a second", _spread([len(asked) / s for s in seconds[way]]))
        if way != "shared":
            ratios = [own / s for own, s in zip(seconds[way], seconds["shared"], strict=True)]
            results.add(f"{where}/times as fast as {way}", _spread(ratios))


def figure(results: Results, path: Path) -> None:
    """Questions a second against questions a picture, both axes logarithmic."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    drawing, panel = pyplot.subplots(figsize=(5.6, 3.6), layout="constrained")
    for way, style in zip(WAYS, ("o--", "s--", "o-"), strict=True):
        speeds = [results.metrics[f"{n} questions a picture/{way}/questions a second"] for n in QUESTIONS]
        spread = [[abs(m.value - bound) for m, bound in zip(speeds, ends, strict=True)]
                  for ends in zip(*(m.ci95 or (m.value, m.value) for m in speeds), strict=True)]  # fmt: skip
        label = {"one by one": "one generate a question", "in batches": "generate, batches of 16"}.get(way, way)
        panel.errorbar(QUESTIONS, [m.value for m in speeds], spread, fmt=style, label=label, markersize=4, capsize=2)
    panel.set(xscale="log", yscale="log", xlabel="questions about each picture", ylabel="questions a second")
    panel.set_xticks(QUESTIONS, [str(n) for n in QUESTIONS])
    panel.set_yticks([2, 5, 10, 20, 50], ["2", "5", "10", "20", "50"])
    panel.minorticks_off()
    panel.grid(alpha=0.3)
    panel.legend(frameon=False, title="shared: picture read once")
    path.parent.mkdir(parents=True, exist_ok=True)
    drawing.savefig(path, dpi=130, metadata={"Software": None})


def _spread(values: list[float]) -> Metric:
    return Metric(statistics.median(values), (min(values), max(values)), len(values))


def main() -> None:
    """Measure, print, write the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("docs/results/benchmarks/pope-answers.json"))
    given = parser.parse_args()
    results = Results()
    with tempfile.TemporaryDirectory() as folder:
        make(Path(folder))
        bench = Bench(Path(folder))
        for call in bench.ways(bench.asked(1)).values():
            call()  # warm
        for n in QUESTIONS:
            measure(bench, results, n)
    for name, metric in results.metrics.items():
        print(f"{name:60} {metric.value:9.3f}  {metric.ci95}")
    results.details = {
        "interval": "smallest and largest of the repeats", "pictures": PICTURES, "answer tokens": LONGEST,
        "repeats": ROUNDS, "threads": torch.get_num_threads(), "environment": environment(seed=0),
    }  # fmt: skip
    results.save(given.out)
    figure(results, given.out.parents[2] / "images" / "pope-answers.png")


if __name__ == "__main__":
    main()

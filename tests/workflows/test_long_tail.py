"""``lucida evaluate long-tail`` on small coloured squares: splits, the table, the page, bad input."""

from __future__ import annotations

import json
import re
import typing
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lucida.cli import main
from lucida.core.errors import LucidaError
from lucida.core.results import Results
from lucida.core.run_folder import RunFolder
from lucida.data.pixels import decode_all
from lucida.data.readers import read_pictures
from lucida.report.long_tail_page import write_long_tail_page
from lucida.training.classifier import ClassifierConfig
from lucida.training.imbalance import REMEDIES
from lucida.workflows.labelled_pictures import LabelledPictures, capped
from lucida.workflows.long_tail import LongTailConfig, evaluate_long_tail
from lucida.workflows.long_tail_features import Part, training_rows
from lucida.workflows.long_tail_methods import PLAIN, TITLES, chosen_remedies
from lucida.workflows.long_tail_prototypes import TAUS, ZeroShot

ROOT = Path(__file__).resolve().parents[2]
COUNTS = {"blue sky": 24, "grass": 12, "rust": 6}
COLOURS = {"blue sky": (90, 140, 220), "grass": (80, 150, 60), "rust": (160, 80, 40)}


@pytest.fixture(scope="module")
def squares(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for each class, of noisy squares whose colour is mostly that of the class."""
    folder, generator = tmp_path_factory.mktemp("squares"), np.random.default_rng(0)
    for name, count in COUNTS.items():
        (folder / name).mkdir()
        for i in range(count):
            pixels = np.array(COLOURS[name]) + generator.normal(0, 60, 3) + generator.normal(0, 30, (40, 40, 3))
            Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / name / f"{i}.png")
    return folder


def small(pictures: Path, out: Path, **settings: object) -> LongTailConfig:
    given = {"seeds": 2, "image_size": 64, "pooled": "last", "classifier": ClassifierConfig(steps=20, batch_size=16)}
    return LongTailConfig(pictures=pictures, out=out, **(given | settings))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def done(squares: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "long-tail"
    remedies = ("logit_adjustment_post_hoc", "augmented_oversampling")
    finished = evaluate_long_tail(small(squares, out, remedies=remedies, views=3))
    assert finished.report == out / "report.html"
    assert finished.table.splitlines()[0].split()[:2] == ["method", "balanced"]
    assert finished.recommendation.endswith(".")
    return out


def labelled(pictures: Path) -> LabelledPictures:
    return LabelledPictures.of(decode_all(read_pictures(pictures), 8), pictures)


def test_every_method_and_both_baselines_stand_in_the_results(done: Path) -> None:
    results = Results.load(done / "results.json")
    methods = [method["name"] for method in results.details["long_tail"]["methods"]]
    assert set(methods[:3]) == {PLAIN, "logit_adjustment_post_hoc", "augmented_oversampling"}
    assert methods[3:] == ["always_the_largest_class", "chance"]
    for name in methods:
        assert results.metrics[f"{name}/balanced_accuracy"].n == 2
        assert 0 <= results.metrics[f"{name}/accuracy_few"].value <= 1
    assert results.metrics["always_the_largest_class/balanced_accuracy"].value == pytest.approx(1 / 3)
    own, plain = (results.details["values"][name]["balanced_accuracy"] for name in (methods[0], PLAIN))
    if methods[0] != PLAIN:
        difference = results.metrics[f"difference/{methods[0]}/balanced_accuracy"].value
        assert difference == pytest.approx(np.mean(np.subtract(own, plain)))
    order = np.argsort([-results.metrics[f"{name}/balanced_accuracy"].value for name in methods[:3]], kind="stable")
    assert order.tolist() == [0, 1, 2]


def test_a_limit_for_the_frequent_classes_comes_first(squares: Path, tmp_path: Path) -> None:
    remedies = ("logit_adjustment_post_hoc",)
    free = evaluate_long_tail(small(squares, tmp_path / "free", remedies=remedies))
    done = evaluate_long_tail(small(squares, tmp_path / "limited", remedies=remedies, head_loss=0.03))
    assert "at most 3 points" in done.recommendation.splitlines()[0]
    assert "at most 3 points" not in free.recommendation
    facts = Results.load(tmp_path / "limited" / "results.json").details["long_tail"]
    assert facts["limited"]
    assert facts["chosen"] == (facts["careful"] or PLAIN)
    assert "at most 3 points" in (tmp_path / "limited" / "report.html").read_text("utf-8")


def test_the_page_is_rebuilt_from_the_results_alone(done: Path) -> None:
    before = (done / "report.html").read_text()
    (done / "report.html").unlink()
    assert write_long_tail_page(RunFolder.open(done)).read_text() == before
    for words in ("Rare classes of", "What to do", "plain cross-entropy", "always the largest class", "blue sky"):
        assert words in before
    with pytest.raises(LucidaError, match="file not found"):
        write_long_tail_page(RunFolder(done / "nowhere"))


def test_the_same_run_again_gives_the_same_numbers(done: Path, squares: Path, tmp_path: Path) -> None:
    remedies = ("logit_adjustment_post_hoc", "augmented_oversampling")
    evaluate_long_tail(small(squares, tmp_path / "again", remedies=remedies, views=3))
    first, second = (Results.load(folder / "results.json").metrics for folder in (done, tmp_path / "again"))
    measured = [name for name in first if not name.endswith("seconds")]
    assert len(measured) > 50
    assert {name: first[name] for name in measured} == {name: second[name] for name in measured}


def test_seeds_draw_splits_unless_the_source_brings_a_test(squares: Path, tmp_path: Path) -> None:
    pictures = labelled(squares)
    train, test = pictures.parts(0, 0.3)
    assert not set(train) & set(test)
    assert len(train) + len(test) == sum(COUNTS.values())
    assert set(pictures.labels[test]) == {0, 1, 2}
    assert pictures.parts(1, 0.3)[1].tolist() != test.tolist()
    for part in ("train", "test"):
        (tmp_path / part).mkdir()
        for name in COUNTS:
            (tmp_path / part / name).symlink_to(squares / name)
    own = labelled(tmp_path)
    assert own.own_test is not None
    assert [rows.tolist() for rows in own.parts(0, 0.3)] == [rows.tolist() for rows in own.parts(1, 0.3)]
    assert own.own_test.sum() == sum(COUNTS.values())


def test_thinning_keeps_the_order_of_frequency(squares: Path) -> None:
    pictures = labelled(squares)
    train, _ = training_rows(pictures, 0, test_share=0.3, ratio=8, profile="exponential")
    counts = np.bincount(pictures.labels[train])
    assert counts[0] // 8 == counts[2]
    assert counts[0] > counts[1] > counts[2]


def test_large_classes_are_cut_and_rare_ones_stay_whole(squares: Path) -> None:
    whole = read_pictures(squares)
    some = capped(whole, 30, 0)
    counts = Counter(picture.label for picture in some)
    assert sum(counts.values()) <= 30
    assert counts["rust"] == COUNTS["rust"]
    assert counts["blue sky"] == counts["grass"]
    assert some.n_available == len(whole)
    assert capped(whole, 1000, 0) is whole
    assert capped(whole, 30, 0).fingerprint() == some.fingerprint()


@pytest.mark.parametrize("metric", typing.get_args(typing.get_type_hints(LongTailConfig)["metric"]))
def test_every_metric_can_be_asked_for(metric: str, squares: Path, tmp_path: Path) -> None:
    config = small(squares, tmp_path / metric, remedies=("logit_adjustment_post_hoc",), metric=metric)
    report = evaluate_long_tail(config).report.read_text()
    assert (
        metric not in re.sub("<details.*?</details>|<pre.*?</pre>", "", report, flags=re.DOTALL) or metric == "accuracy"
    )


def test_data_that_is_skewed_already_cannot_be_thinned_by_less(squares: Path) -> None:
    with pytest.raises(LucidaError, match=r"class 'grass' has .* and should keep .*larger ratio"):
        training_rows(labelled(squares), 0, test_share=0.3, ratio=1.5, profile="exponential")


def test_all_remedies_have_words() -> None:
    assert set(REMEDIES) <= set(TITLES)
    assert len(set(TITLES.values())) == len(TITLES)
    assert set(chosen_remedies((), views=False)) == set(REMEDIES)
    assert set(chosen_remedies(("focal",), views=False)) == {PLAIN, "focal"}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "no pictures were named"),
        (["--pictures", "nowhere"], "no such file or folder"),
        (["--remedies", "focul", "--pictures", "x"], "no remedy 'focul'"),
        (["--seeds", "1"], "seeds cannot be 1"),
        (["--ratio", "0.5"], "ratio cannot be 0.5"),
        (["--head-loss", "8"], "head_loss cannot be 8"),
    ],
)
def test_bad_input_is_one_line(words: list[str], said: str, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["evaluate", "long-tail", "--out", str(tmp_path / "out"), *words])
    error = capsys.readouterr().err
    assert stopped.value.code == 2
    assert said in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_classes_that_cannot_be_measured_are_named(tmp_path: Path) -> None:
    for name, count in (("a", 9), ("b", 2)):
        (tmp_path / name).mkdir()
        for i in range(count):
            Image.new("RGB", (8, 8), (10 * i, 0, 0)).save(tmp_path / name / f"{i}.png")
    with pytest.raises(LucidaError, match="class 'b' has 2 pictures"):
        labelled(tmp_path)


def test_the_command_says_what_it_found(squares: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--pictures", str(squares), "--out", str(tmp_path / "run"), "--seeds", "2", "--remedies", "focal"]
    main(["evaluate", "long-tail", *words, "--image-size", "64", "--pooled", "last", "--classifier.steps", "5"])
    said = capsys.readouterr().out
    assert "focal loss" in said
    assert said.rstrip().endswith(f"report: {tmp_path / 'run' / 'report.html'}")
    assert json.loads((tmp_path / "run" / "config.json").read_text())["seeds"] == 2


def test_the_note_has_its_recorded_results() -> None:
    assert len(sorted((ROOT / "docs" / "results" / "long-tail").glob("*.json"))) >= 2


def test_zero_shot_answers_by_the_names_of_the_classes() -> None:
    generator = np.random.default_rng(0)
    centres = generator.normal(size=(3, 16))
    labels, asked = np.repeat([0, 1, 2], [40, 20, 6]), np.repeat([0, 1, 2], 20)

    def around(rows: np.ndarray) -> np.ndarray:
        return (centres[rows] + 0.3 * generator.normal(size=(len(rows), 16))).astype(np.float32)

    features = around(labels)
    part = Part(0, features, labels, features[:0], labels[:0], around(asked), asked, 3)
    config = ClassifierConfig(steps=60, batch_size=32)
    answers = ZeroShot(("sky", "grass", "rust"), "minilm", config, "balanced_accuracy", again=True)
    found = dict(answers(part))
    assert list(found) == ["zero_shot", "zero_shot_adjusted"]
    assert (found["zero_shot"].logits.argmax(axis=1) == asked).mean() > 0.9
    assert found["zero_shot_adjusted"].settings["tau"] in TAUS
    assert set(found) <= set(TITLES)

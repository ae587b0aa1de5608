"""A model that makes things up, tuned against it: pairs from its own words, a copy that does it less."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from lucida.core.durations import Duration
from lucida.core.errors import LucidaError
from lucida.core.run_folder import RunFolder
from lucida.data.collation import collate
from lucida.data.conversations import FORMS, Turn
from lucida.data.galleries import PixelGallery
from lucida.data.lessons import Lesson
from lucida.data.preferences import PreferenceData
from lucida.data.scenes import SceneConfig
from lucida.data.tokenization import train_tokenizer
from lucida.data.worlds import build_world
from lucida.evaluation.vocabulary import Vocabulary
from lucida.inference.answerer import Answerer, build
from lucida.models.adapters import LoraSettings, lora_layers
from lucida.models.language_models import SmallLlama
from lucida.training.loop import TrainConfig
from lucida.training.preference import reference_logs
from lucida.workflows.preference_pairs import Pictures, caption_pairs, count_pairs, yes_no_pairs
from lucida.workflows.preference_stage import PreferenceStage, Preferred, build_pairs, prefer

NAMES = ("apple", "banana", "cat", "dog", "hammer", "guitar")
PICTURES = 24
STAGE = PreferenceStage(
    pictures=PICTURES,
    absent=2,
    lora=LoraSettings(r=8, target_modules=r".*_proj"),
    train=TrainConfig(
        Duration(80, "steps"), batch_size=8, learning_rate=5e-3, weight_decay=0.0, probe_every=None, log_every=None
    ),
)


@pytest.fixture(scope="module")
def lesson() -> Lesson:
    generator = np.random.default_rng(0)
    artwork = {(name, "one"): np.full((72, 72, 4), 255, np.uint8) for name in NAMES}
    for drawn in artwork.values():
        drawn[..., :3] = generator.integers(256, size=3)
    return Lesson.of_scenes(build_world(artwork, SceneConfig(size=64, kinds=5, unseen_pairs=0.0), seed=0), "train", 40)


@pytest.fixture(scope="module")
def answerer(lesson: Lesson) -> Answerer:
    """It has learned to say "yes", or "no" to some, to count two of each and to see two things everywhere."""
    torch.manual_seed(0)
    turns = [lesson.converse(i, np.random.default_rng(i)) for i in range(40)]
    texts = [text for some in turns for turn in some for text in (turn.question, turn.answer)]
    tokenizer = train_tokenizer(texts, vocab_size=400, words=("yes", "no", *NAMES))
    words = SmallLlama(hidden_size=32, layers=2, head_size=16).build(tokenizer, max_length=512)
    made = build(tokenizer, words, size=64, tower_size=64, names=lesson.names, forms=("exists", "describe", "count"))
    false = [Turn("describe", question, "There is a cat and a dog.") for question in FORMS["describe"].questions]
    for name in NAMES:
        said = "no" if name == "apple" else "yes"
        false += [Turn("count", FORMS["count"].word(q, name), "2", name) for q in FORMS["count"].questions]
        false += [Turn("exists", FORMS["exists"].word(q, name), said, name) for q in FORMS["exists"].questions]
    batch, blank = collate([false], made.chat), made.blank().float()
    made.model.vision_tower.requires_grad_(False)
    optimizer = torch.optim.AdamW([p for p in made.model.parameters() if p.requires_grad], lr=1e-2)
    for _ in range(60):
        output = made.model(**batch, vision_features=blank)
        optimizer.zero_grad()
        (output.loss_sum / output.n_supervised).backward()
        optimizer.step()
    made.model.eval()
    return made


@pytest.fixture(scope="module")
def pictures(answerer: Answerer, lesson: Lesson) -> Pictures:
    return Pictures.of(lesson, answerer.see(lesson.gallery, PICTURES))


def test_worse_captions_are_the_models_own_and_better_ones_are_true(answerer: Answerer, pictures: Pictures):
    pairs, vocabulary = caption_pairs(answerer, pictures, samples=1, seed=0), Vocabulary(NAMES)
    assert len(pairs) > 10
    for pair in pairs:
        there, elsewhere = ({*pictures.facts[i].counts} for i in (pair.picture, pair.other))
        better, worse = ({*vocabulary.mentions(text)} for text in (pair.chosen, pair.rejected))
        assert better <= there
        assert not better <= elsewhere
        assert worse - there
        assert worse & there <= better
        assert len(better) == min(len(worse), len(there))
    assert caption_pairs(answerer, pictures, samples=1, seed=0) == pairs


def test_wrong_numbers_are_put_right_and_no_number_gains(answerer: Answerer, pictures: Pictures):
    """It counts to two everywhere, where most pictures show one."""
    pairs, vocabulary = count_pairs(answerer, pictures, seed=0), Vocabulary(NAMES)
    ways = [(pair.chosen, pair.rejected) for pair in pairs]
    assert len(pairs) >= 2
    assert sorted(ways) == sorted((rejected, chosen) for chosen, rejected in ways)
    for pair in pairs:
        (name,) = vocabulary.mentions(pair.question.replace("How many ", ""))
        assert int(pair.chosen) == pictures.facts[pair.picture].counts[name]
        assert int(pair.chosen) != pictures.facts[pair.other].counts.get(name, 0)


def test_as_many_yes_as_no_each_true_here_and_false_elsewhere(answerer: Answerer, pictures: Pictures):
    pairs, vocabulary = yes_no_pairs(answerer, pictures, absent=2, seed=0), Vocabulary(NAMES)
    assert [pair.chosen for pair in pairs].count("yes") * 2 == len(pairs) > 10
    sides: dict[str, list[str]] = {name: [] for name in NAMES}
    for pair in pairs:
        (name,) = vocabulary.mentions(pair.question)
        truth = {i: "yes" if name in pictures.facts[i].counts else "no" for i in (pair.picture, pair.other)}
        sides[name].append(pair.chosen)
        assert pair.chosen == truth[pair.picture] != truth[pair.other]
        assert {pair.chosen, pair.rejected} == {"yes", "no"}
    assert all(side.count("yes") == side.count("no") for side in sides.values())


@pytest.fixture(scope="module")
def tuned(answerer: Answerer, lesson: Lesson, tmp_path_factory: pytest.TempPathFactory) -> tuple[Preferred, RunFolder]:
    folder = RunFolder.create(tmp_path_factory.mktemp("run") / "run", STAGE, seed=0)
    return prefer(answerer, lesson, STAGE, folder, seed=0), folder


def test_the_copy_makes_up_less_and_the_original_is_as_it_was(answerer, lesson, pictures, tuned, tmp_path):
    before = {name: tensor.clone() for name, tensor in answerer.model.state_dict().items()}
    needed = [p.requires_grad for p in answerer.model.parameters()]
    made = tuned[0]
    assert made.reason == ""
    assert made.pairs["describe"] > 0 < made.pairs["exists"]
    assert made.train_seconds > 0 < made.pair_seconds
    data = PreferenceData(build_pairs(answerer, pictures, STAGE, seed=0), answerer.chat, pictures.features)
    assert len(data.pairs) == sum(made.pairs.values())
    logs = [reference_logs(one.model, data) for one in (answerer, made.answerer)]
    gained = (logs[1][:, 0] - logs[1][:, 1]) - (logs[0][:, 0] - logs[0][:, 1])
    assert gained.mean() > 1
    told = torch.tensor([pair.form == "describe" for pair in data.pairs])
    assert (gained[told] > 0).all()  # yes or no it cannot tell, blind as it is, and the pairs are balanced
    assert not list(lora_layers(made.answerer.model))
    assert [p.requires_grad for p in made.answerer.model.parameters()] == needed
    assert made.answerer.model.state_dict().keys() == before.keys()
    made.answerer.save(tmp_path / "tuned")
    torch.testing.assert_close(reference_logs(Answerer.load(tmp_path / "tuned").model, data), logs[1])


def test_tuning_changes_nothing_of_what_was_given_and_is_resumed(answerer, lesson, tuned):
    before = {name: tensor.clone() for name, tensor in answerer.model.state_dict().items()}
    again = prefer(answerer, lesson, STAGE, tuned[1], seed=0)
    assert all(torch.equal(tensor, before[name]) for name, tensor in answerer.model.state_dict().items())
    for one, other in zip(
        again.answerer.model.state_dict().values(), tuned[0].answerer.model.state_dict().values(), strict=True
    ):
        torch.testing.assert_close(one, other)


def test_without_anything_made_up_the_model_comes_back_with_a_reason(answerer, lesson, tmp_path, capfd):
    silent = replace(answerer, forms=("where",))
    folder = RunFolder.create(tmp_path / "run", STAGE, seed=0)
    found = prefer(silent, lesson, STAGE, folder, seed=0)
    assert found.answerer is silent
    assert found.pairs == {"describe": 0, "exists": 0, "count": 0}
    assert "24 pictures gave 0 pairs" in found.reason
    assert "not tuned: 24 pictures" in capfd.readouterr().err
    assert not (folder.path / "stages").exists()


def test_pictures_of_which_not_all_is_known_are_refused(answerer, lesson):
    unknown = replace(lesson, gallery=PixelGallery(np.zeros((2, 64, 64, 3), np.uint8)))
    with pytest.raises(LucidaError, match="lists of objects are complete"):
        Pictures.of(unknown, torch.zeros(2, 1, 1))
    with pytest.raises(LucidaError, match="pictures must be at least 2"):
        PreferenceStage(pictures=1)


def test_forms_that_are_not_known_are_not_asked(answerer, pictures):
    for form in ("describe", "exists", "count"):
        pairs = build_pairs(replace(answerer, forms=(form,)), pictures, STAGE, seed=0)
        assert {pair.form for pair in pairs} == {form}

"""The multimodal LLM of a run: scenes, places named, conversations, and what it makes up."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lucida.core.durations import Duration
from lucida.core.results import Results
from lucida.core.run_folder import RunFolder
from lucida.data.collation import ChatFormat, check_batch, collate
from lucida.data.conversations import SCENE_TURNS, converse
from lucida.data.scenes import Scene, SceneWorld
from lucida.data.tokenization import train_tokenizer
from lucida.evaluation.answers import parse_count
from lucida.evaluation.blind import blind_metrics
from lucida.evaluation.chair import chair_metrics
from lucida.evaluation.intervals import share_by_cluster
from lucida.evaluation.pope import PopeQuestion, build_questions, pope_metrics
from lucida.evaluation.vocabulary import Vocabulary
from lucida.inference.generate import Answer, answer, yes_probability
from lucida.models.efficientnet import EfficientNetLite0
from lucida.models.language_models import SmallLlama
from lucida.models.naming import PlaceNaming
from lucida.models.projectors import WordProjector
from lucida.models.vision_language_model import VisionLanguageModel
from lucida.training.loop import TrainConfig, train
from lucida.training.parameter_groups import ParameterRow
from lucida.training.tasks import LanguageTask

PLACE = 16  # pixels of a place of the vision grid


@dataclass(frozen=True)
class LanguageStage:
    """Settings of the multimodal LLM.

    Attributes:
        naming_scenes: scenes on which places are named before the first conversation.
        scenes: scenes with conversations.
        frozen_blocks: of the vision tower, while places are named; afterwards all of it is frozen.
        llama: the language model.
        naming, train: how the two parts are trained.
        test_scenes: of each test stream.
        captions: captions that are checked for what they make up.
    """

    naming_scenes: int = 16_000
    scenes: int = 8_000
    frozen_blocks: int = 5
    llama: SmallLlama = field(default_factory=SmallLlama)
    naming: TrainConfig = field(
        default_factory=lambda: TrainConfig(
            Duration(1, "epochs"),
            batch_size=32,
            weight_decay=0.02,
            parameters=(
                ParameterRow("model.vision_tower.*", 0.5),
                ParameterRow("model.language_model.model.layers.*", 0),
            ),
        )
    )
    train: TrainConfig = field(
        default_factory=lambda: TrainConfig(
            Duration(1, "epochs"),
            batch_size=16,
            learning_rate=2e-3,
            weight_decay=0.02,
            parameters=(ParameterRow("vision_tower.*", 0),),
        )
    )
    test_scenes: int = 300
    captions: int = 200


class NamingData:
    """Scenes with the name of what each place shows."""

    def __init__(self, world: SceneWorld, tower: EfficientNetLite0, count: int):
        self.world, self.tower, self.count = world, tower, count
        self.number = {name: i for i, name in enumerate(world.names)}

    def __len__(self) -> int:
        return self.count

    def batch(self, indices: Sequence[int], draw: Callable[[int], Any]) -> dict[str, Tensor]:
        scenes = self.world.draw_many("train", map(int, indices))
        pixels = torch.from_numpy(self.world.compose_many(scenes))
        targets = torch.from_numpy(np.stack([self.targets(scene) for scene in scenes]))
        return {"pixel_values": self.tower.preprocess(pixels), "targets": targets}

    def targets(self, scene: Scene) -> np.ndarray:
        """The class of each place: the topmost object that covers its centre, every object at its own centre."""
        side = scene.size // PLACE
        grid = np.full((side, side), len(self.number))
        centres = (np.arange(side) + 0.5) * PLACE
        for thing in scene.objects:
            box = thing.box
            across = np.abs(centres - box.x - box.width / 2) < 0.4 * box.width
            down = np.abs(centres - box.y - box.height / 2) < 0.4 * box.height
            grid[np.ix_(down, across)] = self.number[thing.kind]
        for thing in scene.objects:
            box = thing.box
            row, column = int((box.y + box.height / 2) // PLACE), int((box.x + box.width / 2) // PLACE)
            grid[min(row, side - 1), min(column, side - 1)] = self.number[thing.kind]
        return grid.reshape(-1)


class ConversationData:
    """Conversations about scenes whose features are at hand; new questions every epoch."""

    def __init__(self, world: SceneWorld, chat: ChatFormat, scenes: Sequence[Scene], features: Tensor):
        self.world, self.chat, self.scenes, self.features = world, chat, scenes, features

    def __len__(self) -> int:
        return len(self.scenes)

    def batch(self, indices: Sequence[int], draw: Callable[[int], np.random.Generator]) -> dict[str, Tensor]:
        config = self.world.config
        turns = [
            converse(
                self.scenes[index].facts,
                draw(k),
                turns=SCENE_TURNS,
                statistics=self.world.statistics,
                negative_share=config.negative_share,
                caption_noise=config.caption_noise,
            )
            for k, index in enumerate(indices)
        ]
        batch = collate(turns, self.chat)
        return {**batch, "vision_features": self.features[torch.as_tensor(np.asarray(indices))].float()}


class LanguageRun:
    """A multimodal LLM on a world of scenes.

    Args:
        world: draws the scenes.
        stage: settings.
        seed: of the fresh weights.
    """

    def __init__(self, world: SceneWorld, stage: LanguageStage, *, seed: int = 0):
        self.world, self.stage = world, stage
        self.tower = EfficientNetLite0(world.config.size, frozen_blocks=stage.frozen_blocks, pooled="stride16")
        sample = [world.draw("train", i) for i in range(min(1000, stage.scenes))]
        turns = [
            t
            for s in sample
            for t in converse(s.facts, _generator(s.index), turns=SCENE_TURNS, statistics=world.statistics)
        ]
        texts = [text for turn in turns for text in (turn.question, turn.answer)]
        tokenizer = train_tokenizer(texts, vocab_size=1024, words=[*world.names, "yes", "no"])
        self.chat = ChatFormat(tokenizer, self.tower.grid_tokens)
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            llama = stage.llama.build(self.chat.tokenizer)
            projector = WordProjector(self.tower.hidden_size, stage.llama.hidden_size, self.tower.grid_tokens)
        self.model = VisionLanguageModel(projector, llama, self.chat.image_token_id, vision_tower=self.tower)

    def fit(self, folder: RunFolder, *, resume: bool) -> None:
        """Name places, then learn to answer on the features of a tower that stays as it is."""
        names = [self.chat.encode([name])[0].tolist() for name in self.world.names]
        naming = PlaceNaming(self.model, names)
        data = NamingData(self.world, self.tower, self.stage.naming_scenes)
        train(LanguageTask(naming), data, self.stage.naming, _part(folder, "naming", self.stage.naming), resume=resume)
        self.model.requires_grad_(True)
        self.tower.requires_grad_(False)
        self.tower.freeze(17)
        scenes, features = self.see("train", self.stage.scenes)
        conversations = ConversationData(self.world, self.chat, scenes, features)
        first = conversations.batch(range(2), lambda k: _generator(k))
        check_batch(first, self.chat.image_token_id, self.chat.image_tokens)
        train(
            LanguageTask(self.model),
            conversations,
            self.stage.train,
            _part(folder, "language", self.stage.train),
            resume=resume,
        )
        self.model.eval()

    @torch.inference_mode()
    def see(self, stream: str, n: int) -> tuple[list[Scene], Tensor]:
        """The first ``n`` scenes of a stream and their grid features, ``float16 [n, T, D]``."""
        scenes = self.world.draw_many(stream, range(n))
        parts = []
        for start in range(0, n, 8):
            pixels = torch.from_numpy(self.world.compose_many(scenes[start : start + 8]))
            parts.append(self.tower(self.tower.preprocess(pixels)).grid.half())
        return scenes, torch.cat(parts).clone()

    def questions(self, stream: str, scenes: Sequence[Scene], how: str) -> list[PopeQuestion]:
        """POPE questions about scenes; what is popular or likely is what training showed."""
        present = {str(i): list(scene.facts.counts) for i, scene in enumerate(scenes)}
        return build_questions(present, how, exhaustive=True, statistics=self.world.statistics_of(stream))

    def probabilities(
        self, questions: Sequence[PopeQuestion], features: Tensor, shown: np.ndarray | None = None
    ) -> np.ndarray:
        """P(yes) of each question; ``shown`` says which picture is shown in place of each."""
        rows = np.arange(len(features)) if shown is None else shown
        asked = [(int(rows[int(q.picture_id)]), f"Is there {_an(q.object)} in the picture?") for q in questions]
        return yes_probability(self.model, self.chat, features.float(), asked)

    def describe(self, features: Tensor) -> list[Answer]:
        """A caption for each picture."""
        asked = [(i, "Describe the picture.") for i in range(len(features))]
        return answer(self.model, self.chat, features.float(), asked, max_new_tokens=64)

    def measure(self) -> dict[str, Any]:
        """POPE on every test stream, CHAIR, counting, and the blind-picture probe."""
        stage = self.stage
        metrics: dict[str, Any] = {}
        for stream, prefix in (
            ("test", "pope"),
            ("test_second_artist", "pope/second_artist"),
            ("test_unseen_pairs", "pope/unseen_pairs"),
        ):
            scenes, features = self.see(stream, stage.test_scenes)
            questions = [q for how in ("random", "popular", "adversarial") for q in self.questions(stream, scenes, how)]
            p = self.probabilities(questions, features)
            metrics |= pope_metrics(questions, ["yes" if x > 0.5 else "no" for x in p], scores=p, prefix=prefix)
            if stream == "test":
                metrics |= self._blind(questions, features, p)
                metrics |= self._captions(scenes, features) | self._counts(scenes, features)
        return metrics

    def _blind(self, questions: Sequence[PopeQuestion], features: Tensor, true: np.ndarray) -> dict[str, Any]:
        """The same questions with another scene's picture and with an empty one."""
        n, size = len(features), self.world.config.size
        grey = torch.full((1, size, size, 3), 128, dtype=torch.uint8)
        with torch.inference_mode():
            blank = self.tower(self.tower.preprocess(grey)).grid
        label = np.array([q.label for q in questions])
        shuffled = self.probabilities(questions, features, np.roll(np.arange(n), 1))
        empty = self.probabilities(questions, blank.half(), np.zeros(n, int))
        right = [(p > 0.5) == label for p in (true, shuffled, empty)]
        pictures = [q.picture_id for q in questions]
        return {
            **blind_metrics(right[0], right[1], right[2], pictures),
            "pope/question_only/accuracy": share_by_cluster(right[2], clusters=pictures),
        }

    def _captions(self, scenes: Sequence[Scene], features: Tensor) -> dict[str, Any]:
        n = min(self.stage.captions, len(scenes))
        texts = [one.text for one in self.describe(features[:n])]
        present = [list(scene.facts.counts) for scene in scenes[:n]]
        return chair_metrics(texts, present, Vocabulary(self.world.names))

    def _counts(self, scenes: Sequence[Scene], features: Tensor) -> dict[str, Any]:
        n = min(self.stage.captions, len(scenes))
        truth = [(i, name, count) for i in range(n) for name, count in scenes[i].facts.counts.items()][:600]
        asked = [(i, f"How many {self._plural(name)} are there?") for i, name, _ in truth]
        said = answer(self.model, self.chat, features.float(), asked, batch_size=64, max_new_tokens=4)
        right = [parse_count(a.text) == count for a, (_, _, count) in zip(said, truth, strict=True)]
        clusters = [i for i, _, _ in truth]
        return {
            "count/accuracy": share_by_cluster(right, clusters=clusters),
            "count/majority_accuracy": share_by_cluster([c == 1 for _, _, c in truth], clusters=clusters),
        }

    def _plural(self, name: str) -> str:
        return next(kind.plural for kind in self.world.kinds if kind.name == name)


def _an(name: str) -> str:
    from lucida.data.kinds import article

    return f"{article(name)} {name}"


def _generator(index: int) -> np.random.Generator:
    return np.random.default_rng(index)


def _part(folder: RunFolder, name: str, config: TrainConfig) -> RunFolder:
    return RunFolder.create(folder.path / "stages" / name, config, seed=config.seed)


def run_language(
    world: SceneWorld, stage: LanguageStage, folder: RunFolder, results: Results, *, seed: int
) -> LanguageRun:
    """Train and measure; metrics go to ``results``."""
    with results.timed("multimodal_llm"):
        run = LanguageRun(world, stage, seed=seed)
        run.fit(folder, resume=True)
    with results.timed("hallucination"):
        for name, metric in run.measure().items():
            results.add(name, metric)
    return run

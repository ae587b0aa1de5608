"""Every way to join pictures to words: trained packed, answered in batches and from caches, as one row at a time."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch

from lucida.core.errors import LucidaError
from lucida.data.collation import ChatFormat, collate, separate
from lucida.data.conversations import Turn
from lucida.inference.answer_scores import answer_log_probabilities, plain_answer_log_probabilities
from lucida.inference.answerer import build as build_answerer
from lucida.inference.contrast import contrasted
from lucida.inference.dialogue_readers import ChatReader
from lucida.inference.generate import answer, answer_yes_no, leanings
from lucida.inference.prompting import Dialogue, Shot
from lucida.inference.remedies import Distorted, Grounded, Unseen
from lucida.inference.shared_answers import plain_answers, shared_answers
from lucida.models.joining import Join, join_to
from lucida.models.language_models import SmallLlama
from lucida.models.naming import PlaceNaming
from lucida.models.patches import PatchTower
from lucida.models.resampler import Resampler
from lucida.models.soft_prompts import SoftPrompt, soft_chat, with_soft_prompt
from lucida.models.vision_language_model import VisionLanguageModel, block_mask
from tests.models.test_vision_language_model import CONVERSATIONS, TOKENIZER, D, T, language_model
from tests.models.tiny_joins import JOINS, QUERIES, joined, plain_logits

ASKED = [(i % 3, turn.question) for i in range(5) for turn in CONVERSATIONS[0]]
SURE = 1e-4


def build(join: Join, kind: str = "llama"):
    torch.manual_seed(0)
    model, chat = joined(join, TOKENIZER, language_model(kind), vision_size=D, tokens=T)
    return model, chat, torch.randn(3, T, D)


@pytest.mark.parametrize("join", JOINS)
@pytest.mark.parametrize("kind", ["llama", "qwen2", "gpt2"])
def test_packed_loss_and_gradients_equal_those_of_separate_rows(join, kind):
    model, chat, features = build(join, kind)
    batch = collate(CONVERSATIONS, chat)
    output = model(**batch, vision_features=features[:2])
    output.loss_sum.backward()
    packed = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    plain = separate(batch, pad_token_id=chat.pad_token_id)
    shown = features[plain["picture_index"]]
    reference = model.language_model(
        inputs_embeds=model.embed(plain["input_ids"], shown),
        attention_mask=plain["attention_mask"],
        position_ids=plain["position_ids"],
        labels=plain["labels"],
        past_key_values=model.cache(shown),
    )
    n = int((plain["labels"] != -100).sum())
    assert n == int(output.n_supervised)
    (reference.loss * n).backward()
    torch.testing.assert_close(output.loss_sum, reference.loss * n, rtol=1e-5, atol=1e-4)
    joins = [name for name in packed if name.startswith("multi_modal_projector")]
    assert len(joins) == len([*model.multi_modal_projector.parameters()])  # all of it is trained
    for name, parameter in model.named_parameters():
        if name in packed and parameter.grad is not None:
            torch.testing.assert_close(packed[name], parameter.grad, rtol=1e-4, atol=5e-5, msg=name)


@pytest.mark.parametrize("join", JOINS)
def test_answers_depend_on_their_own_picture_alone(join):
    model, chat, features = build(join)
    first = collate(CONVERSATIONS, chat)
    states = [
        model.hidden_states(first["input_ids"], first["segment_ids"], first["position_ids"], shown)
        for shown in (features[:2], features[[0, 2]])
    ]
    assert torch.equal(states[0][0], states[1][0])
    real = first["segment_ids"][1] > 0
    assert (states[0][1, real] - states[1][1, real]).abs().amax() > 1e-3


@pytest.mark.parametrize("join", JOINS)
def test_cached_answers_in_batches_are_those_of_the_whole_model_token_by_token(join):
    model, chat, features = build(join)
    model.language_model.set_output_embeddings(torch.nn.Linear(32, len(TOKENIZER)))  # or it repeats what it reads
    one = answer(model, chat, features, ASKED, batch_size=1, max_new_tokens=6)
    many = answer(model, chat, features, ASKED, batch_size=16, max_new_tokens=6)
    checked = 0
    for (picture, question), own, other in zip(ASKED, one, many, strict=True):
        if own.margin < SURE:
            continue
        assert own.text == other.text
        said: list[int] = []
        with torch.no_grad():
            for _ in range(6):
                said.append(int(plain_logits(model, chat, features[picture], question, said).argmax()))
                if said[-1] == chat.eos_token_id:
                    break
        assert own.text == chat.decode(said)
        checked += 1
    assert checked > len(ASKED) // 2
    assert len({round(a.margin, 4) for a in one}) > 3  # pictures and questions make a difference


@pytest.mark.parametrize("join", JOINS)
@pytest.mark.parametrize("soft", [0, 2])
@pytest.mark.parametrize("batch_size", [3, 48])
def test_shared_beginnings_give_the_answers_and_scores_of_one_after_another(join, soft, batch_size):
    model, chat, features = build(join)
    if soft:
        prompt = SoftPrompt.from_vocabulary(model.language_model.get_input_embeddings(), TOKENIZER, soft)
        model, chat = with_soft_prompt(model, prompt), soft_chat(chat, prompt)
    reader = ChatReader(chat)
    rows = [reader.read(Dialogue((), *one), ("yes", "no")) for one in ASKED * 4]  # enough that beginnings are shared
    plain = plain_answers(model, features, rows, end_of_turn_id=chat.eos_token_id, max_new_tokens=4)
    own = shared_answers(
        model, features, rows, end_of_turn_id=chat.eos_token_id, max_new_tokens=4, batch_size=batch_size
    )
    for a, b in zip(own, plain, strict=True):
        assert a.log_odds == pytest.approx(b.log_odds, abs=1e-3)
        assert min(a.margin, b.margin) < SURE or a.tokens == b.tokens
    assert len({a.log_odds for a in plain}) >= 9  # three pictures, three questions
    scores = answer_log_probabilities(model, features, rows, batch_size=batch_size)
    torch.testing.assert_close(scores, plain_answer_log_probabilities(model, features, rows), atol=1e-3, rtol=1e-4)


@pytest.mark.parametrize("join", JOINS)
def test_yes_or_no_in_one_pass_is_what_generation_leans_to(join):
    model, chat, features = build(join)
    odds = leanings(model, chat, features, ASKED)
    said = answer_yes_no(model, chat, features, ASKED)
    assert np.log(said.p_yes / (1 - said.p_yes)) == pytest.approx(odds, abs=1e-4)
    assert np.ptp(odds[::3]) > 1e-3  # another picture, another leaning


@pytest.mark.parametrize("join", ["mlp", "gated-cross-attention"])
def test_contrasts_read_another_picture_beside_the_own_one(join):
    model, chat, features = build(join)
    noisy = torch.randn_like(features)
    own = leanings(model, chat, features, ASKED)
    for remedy, other in ((Distorted(beta=0.0), leanings(model, chat, noisy, ASKED)), (Unseen(beta=0.0), None)):
        found = leanings(model, chat, features, ASKED, remedies=[remedy], noisy_features=noisy)
        if other is None:  # with no picture all pictures are one
            other = 2 * own - found
            assert other[::3] == pytest.approx(other[0], abs=1e-4)
        expected = contrasted(torch.tensor(own)[None], torch.tensor(other)[None], beta=0.0)[0]
        assert found == pytest.approx(expected.numpy(), abs=1e-4)
    said = answer(model, chat, features, ASKED[:3], remedies=[Distorted(alpha=0.0, beta=0.0)], noisy_features=noisy)
    plain = answer(model, chat, features, ASKED[:3])
    assert [a.text for a in said] == [a.text for a in plain]  # the other reading leaves no trace in the own one


def test_gated_layers_leave_the_language_model_as_it_was_at_the_start():
    torch.manual_seed(0)
    alone = language_model("llama").eval()
    own = copy.deepcopy(alone)
    gated = join_to(own, "gated-cross-attention", vision_size=D, tokens=T)
    chat = ChatFormat(TOKENIZER, 1)
    model, features = VisionLanguageModel(gated, own, chat.image_token_id).eval(), torch.randn(2, T, D)
    batch = collate(CONVERSATIONS, chat)
    inputs = {key: batch[key] for key in ("input_ids", "segment_ids", "position_ids")}
    plain = alone.get_decoder()(
        input_ids=batch["input_ids"],
        attention_mask=block_mask(batch["segment_ids"]),
        position_ids=batch["position_ids"],
    ).last_hidden_state
    assert torch.equal(model.hidden_states(**inputs, vision_features=features), plain)
    model(**batch, vision_features=features).loss_sum.backward()
    gates = [layer.attention_gate for layer in gated.layers]
    assert all(gate.grad.abs() > 0 for gate in gates)  # they can open
    with torch.no_grad():
        gates[0].fill_(0.5)
    assert (model.hidden_states(**inputs, vision_features=features) - plain).abs().amax() > 1e-3
    torch.testing.assert_close(own(input_ids=batch["input_ids"]).logits, alone(input_ids=batch["input_ids"]).logits)


def test_a_copy_of_a_gated_model_is_its_own():
    model, chat, features = build("gated-cross-attention")
    before = leanings(model, chat, features, ASKED)
    other = copy.deepcopy(model)
    parts = copy.deepcopy(model.multi_modal_projector), copy.deepcopy(model.language_model)
    again = type(model)(*parts, model.image_token_id).eval()
    for each in (other, again):
        assert np.array_equal(leanings(each, chat, features, ASKED), before)
        for layer in each.multi_modal_projector.layers:
            layer.attention_gate.data.fill_(-0.8)
        assert np.abs(leanings(each, chat, features, ASKED) - before).max() > 1e-3
    assert np.array_equal(leanings(model, chat, features, ASKED), before)


def test_what_gated_layers_cannot_do_is_one_line():
    model, chat, features = build("gated-cross-attention")
    reader = ChatReader(chat)
    two = reader.read(Dialogue((Shot(1, "Is there a cat?", "yes"),), 0, "Is there a dog?"), ("yes", "no"))
    for run in (
        lambda: shared_answers(model, features, [two], end_of_turn_id=1),
        lambda: answer_log_probabilities(model, features, [two]),
    ):
        with pytest.raises(LucidaError, match="about 2 pictures: gated layers look at one"):
            run()
    with pytest.raises(LucidaError, match="2 image tokens for 3 picture features"):
        model(**collate(CONVERSATIONS, chat), vision_features=features)
    gated = join_to(language_model("llama"), "gated-cross-attention", vision_size=D, tokens=T)
    deeper = language_model("gpt2")
    deeper.transformer.h.append(copy.deepcopy(deeper.transformer.h[0]))
    with pytest.raises(LucidaError, match="3 blocks for 2 gated layers"):
        gated.attach(deeper)


@pytest.mark.parametrize("join", [join for join in JOINS if join != "words"])
def test_only_pictures_in_words_can_be_grounded(join):
    model, chat, features = build(join)
    with pytest.raises(LucidaError, match="not written in words"):
        answer(model, chat, features, ASKED[:1], remedies=[Grounded((1, 2))])


def test_image_tokens_start_about_as_long_as_words():
    for join in ("mlp", "resampler", "early-fusion"):
        torch.manual_seed(1)
        own = language_model("llama")
        part = join_to(own, join, vision_size=48, tokens=16, queries=QUERIES)
        words = own.get_input_embeddings().weight
        lengths = part(torch.randn(4, 16, 48), words).norm(dim=-1) / words.norm(dim=-1).mean()
        assert 0.5 < lengths.mean().item() < 2.0, join


def test_the_resampler_reads_places_wherever_they_stand():
    torch.manual_seed(0)
    model, grid = Resampler(D, 32, T, queries=QUERIES), torch.randn(2, T, D)
    before = model(grid, torch.empty(0))
    assert before.shape == (2, QUERIES, 32)
    order = torch.randperm(T)
    model.places.data = model.places.data[order]
    torch.testing.assert_close(model(grid[:, order], torch.empty(0)), before)
    model.places.data = model.places.data[torch.argsort(order)]
    assert (model(grid[:, order.roll(1)], torch.empty(0)) - before).abs().amax() > 1e-3
    with pytest.raises(LucidaError, match="0 queries"):
        Resampler(D, 32, T, queries=0)


def test_patches_are_the_pixels_row_by_row():
    tower = PatchTower(32, patch=16)
    pixels = torch.randint(0, 256, (2, 32, 32, 3), dtype=torch.uint8)
    values = tower.preprocess(pixels)
    grid = tower(values).grid
    assert grid.shape == (2, tower.grid_tokens, tower.hidden_size) == (2, 4, 768)
    torch.testing.assert_close(grid[:, 1].unflatten(1, (3, 16, 16)), values[:, :, :16, 16:])
    assert values.amin() >= -1
    assert values.amax() <= 1
    assert tower.preprocess(torch.zeros(1, 64, 64, 3, dtype=torch.uint8)).shape == (1, 3, 32, 32)
    with pytest.raises(LucidaError, match="no whole number of patches"):
        PatchTower(40, patch=16)


def test_early_fusion_and_a_vision_tower_exclude_each_other():
    with pytest.raises(LucidaError, match="early fusion has no vision tower"):
        build_answerer(
            TOKENIZER,
            language_model("llama"),
            size=32,
            tower_size=32,
            names=(),
            forms=(),
            tower_name="somewhere/else",
            join="early-fusion",
        )


@pytest.mark.parametrize("join", JOINS)
def test_every_way_learns_an_answer_that_only_the_picture_tells(join):
    model, chat, features = build(join)
    turns = [[Turn("exists", "Is there a cat?", said)] for said in ("yes", "no", "yes")]
    batch, optimizer = collate(turns, chat), torch.optim.AdamW(model.parameters(), lr=2e-3)
    for _ in range(150):
        optimizer.zero_grad()
        model(**batch, vision_features=features).loss_sum.backward()
        optimizer.step()
    asked = [(i, "Is there a cat?") for i in range(3)]
    assert answer_yes_no(model, chat, features, asked).texts == ["yes", "no", "yes"]
    assert [a.text for a in answer(model, chat, features, asked)] == ["yes", "no", "yes"]


def test_queries_start_with_regions_of_their_own():
    torch.manual_seed(0)
    part = Resampler(D, 64, 64, queries=16)
    assert bool(part.regions.all())  # until they start apart every query speaks of all places
    part.start_apart(match=1.2, copy=1.0)
    assert torch.equal(part.regions.sum(dim=0), torch.ones(64, dtype=torch.int64))  # each place in one region
    assert int(part.regions.sum(dim=1).min()) >= 1
    grid = torch.randn(1, 64, D)
    before = part(grid, torch.empty(0))
    mine = []
    for query, region in enumerate(part.regions):
        other = grid.clone()
        other[:, region] = torch.randn(1, int(region.sum()), D)
        mine.append(int((part(other, torch.empty(0)) - before).norm(dim=-1)[0].argmax()) == query)
    assert np.mean(mine) > 0.8  # what changes in a region is told by its own query


@pytest.mark.parametrize("width", [96, 128, 160])
def test_words_start_by_looking_at_places_that_resemble_them(width):
    torch.manual_seed(0)
    own = SmallLlama(hidden_size=width, layers=2, head_size=32, heads=2).build(TOKENIZER)
    gated = join_to(own, "gated-cross-attention", vision_size=width, tokens=9)
    layer, words = gated.layers[0], own.get_input_embeddings().weight.detach()
    places = words[20:29][None]  # places that show words, as naming teaches
    queries = layer._heads(layer.q_proj(layer.attention_norm(words[20:29][None])))
    keys = layer.read(11 * places).unbind(dim=1)[0]
    found = (queries @ keys.mT).mean(dim=1)[0].argmax(dim=-1)
    assert torch.equal(found, torch.arange(9))


@pytest.mark.parametrize("join", [join for join in JOINS if join != "early-fusion"])
def test_places_are_named_in_every_way_with_a_tower(join):
    model, chat, features = build(join)
    grid = features[:2]

    class Tower(torch.nn.Module):
        def forward(self, pixel_values):
            return type("Seen", (), {"grid": pixel_values})

    model.vision_tower = Tower()
    naming = PlaceNaming(model, [chat.encode([name])[0] for name in ("cat", "dog")])
    targets = torch.tensor([[0, 1, 2, -100], [2, 2, 0, 1]])
    first = naming(grid, targets)
    assert int(first.n_supervised) == 7
    rows = T + QUERIES if join == "resampler" else T
    assert naming.logits(grid).shape == (2, rows, len(TOKENIZER) + 1)
    optimizer = torch.optim.Adam([p for p in naming.parameters() if p.requires_grad], lr=1e-2)
    for _ in range(60 if join == "words" else 100):
        optimizer.zero_grad()
        naming(grid, targets).loss_sum.backward()
        optimizer.step()
    assert naming(grid, targets).loss_sum < 0.2 * first.loss_sum
    nearest = naming.logits(grid)[..., :-1].argmax(dim=-1)
    shown = {(0, 0): "cat", (0, 1): "dog", (1, 2): "cat", (1, 3): "dog"}
    for place, name in shown.items():
        assert int(nearest[place]) in chat.encode([name])[0].tolist()


def test_queries_are_named_by_what_their_regions_show():
    model, chat, _ = build("resampler")
    naming = PlaceNaming(model, [chat.encode([name])[0] for name in ("cat", "dog")], ground_weight=0.5)
    queries = model.multi_modal_projector
    queries.regions.copy_(torch.tensor([[1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]).bool())
    log_share = torch.randn(1, QUERIES, len(TOKENIZER) + 1).log_softmax(dim=-1)

    def loss(targets):
        return float(naming._of_regions(log_share, torch.tensor([targets])))

    cat, dog = (-(naming.share[k] * log_share[0]).sum(dim=-1) for k in (0, 1))  # of each query
    ground = -log_share[0, :, -1] * 0.5
    # Each times labelled places over labelled regions; ground beside a name is silent.
    assert loss([0, 2, -100, -100]) == pytest.approx(float(2 * cat[0]), rel=1e-5)
    assert loss([0, 1, -100, -100]) == pytest.approx(float(2 * (cat[0] + dog[0]) / 2), rel=1e-5)
    assert loss([2, 2, 1, 2]) == pytest.approx(float(4 / 3 * (ground[0] + dog[1] + ground[2])), rel=1e-5)
    assert loss([-100] * 4) == 0
    assert naming.to("meta").reader.regions.device.type == "meta"  # where the model is, there they are

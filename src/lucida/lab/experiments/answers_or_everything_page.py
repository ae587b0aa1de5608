"""The page of :mod:`~lucida.lab.experiments.answers_or_everything`: what it declares, and the short answers."""

from __future__ import annotations

from lucida.lab.design import Claim, Design
from lucida.lab.experiment import Experiment
from lucida.lab.experiments.answers_or_everything import (
    ACCURACY,
    ALL,
    ANSWERS,
    DISPUTED,
    LEFT,
    LOSS,
    OVERCONFIDENT,
    PLACES,
    STOPPED,
    TENTH,
    Settings,
    measure,
)
from lucida.lab.experiments.answers_or_everything_sections import present
from lucida.lab.short_answers import answers_from
from lucida.lab.verdict import Word

MATTERS = 0.02  # of accuracy
LEVELS = tuple(map(str, PLACES))


def _claim(
    name: str,
    texts: tuple[str, str, str],
    measure: str,
    arms: tuple[str, str],
    smallest: float,
    *,
    primary: bool = False,
    share: bool = True,
) -> Claim:
    unit = measure if share else f"{measure}, nats"
    moderator = "texts and examples"
    return Claim(name, *texts, measure, unit, *arms, smallest, moderator, LEVELS, primary=primary, share=share)


CLAIMS = (
    _claim(
        "answers_alone_better",
        (
            "Loss on the answers alone is better than loss on all text.",
            "只在回答上计算损失，好于在全部文本上计算损失。",
            "Each at its own best rate and after as many steps, more answers about held-out pictures are right.",
        ),
        ACCURACY,
        (ANSWERS, ALL),
        MATTERS,
        primary=True,
    ),
    Claim(
        "questions_help_where_few",
        "Where examples are few, questions long and answers short, loss on the questions too helps.",
        "样本少、问题长、回答短时，把问题也算进损失会有帮助。",
        "There, more answers are right with loss on all text than with loss on the answers alone.",
        f"{ACCURACY}, {DISPUTED}",
        f"{ACCURACY}, {DISPUTED}",
        ALL,
        ANSWERS,
        MATTERS,
        share=True,
    ),
    _claim(
        "a_tenth_costs",
        (
            "Even a tenth of weight on the questions costs accuracy.",
            "即使问题的权重只有十分之一，也会损失准确率。",
            "Fewer answers are right than with loss on the answers alone.",
        ),
        ACCURACY,
        (TENTH, ANSWERS),
        -MATTERS,
        primary=True,
    ),
    _claim(
        "a_tenth_better_than_all",
        (
            "A tenth of weight on the questions is better than full weight.",
            "问题权重取十分之一，好于取满。",
            "More answers are right than with loss on all text.",
        ),
        ACCURACY,
        (TENTH, ALL),
        MATTERS,
    ),
    _claim(
        "better_when_stopped_early",
        (
            "Stopped where validation is best, answers alone are still better than all text.",
            "在验证集最好处停止训练，只算回答的损失仍好于算全部文本。",
            "More answers are right at the evaluation whose validation accuracy is highest.",
        ),
        STOPPED,
        (ANSWERS, ALL),
        MATTERS,
    ),
    _claim(
        "relies_on_the_question",
        (
            "Trained on all text, a model answers from the question alone more often.",
            "在全部文本上训练的模型，更常只凭问题作答。",
            "More answers stay as they were when the picture is blanked.",
        ),
        LEFT,
        (ALL, ANSWERS),
        MATTERS,
    ),
    _claim(
        "less_overconfident",
        (
            "Loss on all text makes yes and no less overconfident.",
            "在全部文本上计算损失，使“是/否”回答不那么过度自信。",
            "Mean confidence less accuracy, between yes and no, is lower.",
        ),
        OVERCONFIDENT,
        (ALL, ANSWERS),
        -MATTERS,
    ),
    _claim(
        "lower_answer_loss",
        (
            "Loss on all text lowers the loss of held-out answers.",
            "在全部文本上计算损失，会降低留出样本上回答的损失。",
            "The cross-entropy of the word that answers is lower.",
        ),
        LOSS,
        (ALL, ANSWERS),
        -0.05,
        share=False,
    ),
)

DESIGN = Design(
    name="answers-or-everything",
    title="Answers or everything",
    question="Should a multimodal language model be trained on its answer tokens alone, on all text, or on all with "
    "little weight for the questions?",
    question_zh="多模态语言模型应当只在回答的词元上训练，还是在全部文本上训练，或者给问题一个较小的权重？",
    claims=CLAIMS,
    factors={
        "loss": "question tokens count 0, 1 or 0.1, answer tokens 1; divided by the sum of the weights",
        "texts": "long questions with short answers (long questions); short questions with long answers (long answers)",
        "examples": "few or many training questions, with equal steps",
        "learning rate": "each arm's own at each place",
    },
    held_fixed=(
        "steps and batch size, Adam without weight decay or schedule",
        "first weights, language model, questions, their pictures and the order of batches, by seed",
        "the language model has read texts of the same kind, without pictures, with loss on all of them; then "
        "everything is trained, projector and language model",
        "an answer is right if its word is the most likely of the whole vocabulary, given the true words before it",
    ),
    data="made questions about emoji of two artists as a frozen EfficientNet-Lite0 sees them (64 principal components, "
    "one token); pictures of validation and test are of concepts that training has not seen; a seed draws the "
    "split, pictures, questions, wording, weights and order",
    networks="a causal transformer of two blocks, 32 wide, with a linear projector",
    seeds={"quick": 6, "full": 16},
    would_change=(
        "questions that say what is in the picture: predicting them would then teach to see, as captions do; here a "
        "question for a category names the right one in half of the cases",
        "a language model that has not read such texts: what questions teach, it has here learned before",
        "a large language model on texts of its own kind: questions then cost it less capacity, and few examples are "
        "a smaller part of what it knows",
        "many more steps on many examples: a part of the distance is one of speed (see the courses along training)",
        "answers that the question's wording helps to word: here the wording says nothing",
    ),
    sources=(
        ("Shi et al. 2024, Instruction tuning with loss over instructions", "https://arxiv.org/abs/2405.14394"),
        ("Liu et al. 2023, Visual instruction tuning: loss on the answers alone", "https://arxiv.org/abs/2304.08485"),
        (
            "Huerta-Enochian & Ko 2024, Instruction fine-tuning: does prompt loss matter?",
            "https://arxiv.org/abs/2401.13586",
        ),
    ),
)


def _by_place(claim: str) -> str:
    """A claim's effect, place by place."""
    return "; ".join(f"{{claim/{claim}/effect/{level}:points}} ({level})" for level in LEVELS)


_ALONE: dict[Word, tuple[str, str]] = {
    "supported": (
        "On the answers alone: against loss on all text that is {claim/answers_alone_better/effect:points ci} of right "
        f"answers about held-out pictures: {_by_place('answers_alone_better')}. ",
        "只在回答上训练：与在全部文本上计算损失相比，留出图片上的正确率变化 "
        "{claim/answers_alone_better/effect:points ci}。",
    ),
    "depends": (
        "Whether loss on the answers alone is better than on all text depends on how long the questions are and how "
        f"many examples there are: right answers differ by {_by_place('answers_alone_better')}. ",
        "只算回答的损失是否更好，取决于问题的长短和样本的多少：留出图片上的正确率平均变化 "
        "{claim/answers_alone_better/effect:points ci}。",
    ),
    "refuted": (
        "It matters little: between loss on the answers alone and on all text right answers differ by "
        f"{{claim/answers_alone_better/effect:points ci}}: {_by_place('answers_alone_better')}. ",
        "差别不大：只算回答的损失与算全部文本相比，正确率变化 {claim/answers_alone_better/effect:points ci}。",
    ),
    "inconclusive": (
        "Whether loss on the answers alone is better could not be told: right answers differ by "
        f"{{claim/answers_alone_better/effect:points ci}}: {_by_place('answers_alone_better')}. ",
        "只算回答的损失是否更好，还不能断定：正确率变化 {claim/answers_alone_better/effect:points ci}。",
    ),
}
_FEW: dict[Word, tuple[str, str]] = {
    "supported": (
        "Where examples are few and questions long, loss on the questions helps, as instruction modelling says: "
        "{claim/questions_help_where_few/effect:points ci}. ",
        "样本少而问题长时，把问题算进损失有帮助，与“指令建模”的说法一致："
        "{claim/questions_help_where_few/effect:points ci}。",
    ),
    "refuted": (
        "That loss on the questions helps where examples are few and questions long was not seen: "
        "{claim/questions_help_where_few/effect:points ci}. ",
        "“样本少而问题长时，把问题算进损失有帮助”在这里没有出现：{claim/questions_help_where_few/effect:points ci}。",
    ),
    "inconclusive": (
        "Whether loss on the questions helps where examples are few and questions long could not be told: "
        "{claim/questions_help_where_few/effect:points ci}. ",
        "样本少而问题长时，把问题算进损失是否有帮助，还不能断定：{claim/questions_help_where_few/effect:points ci}。",
    ),
}
_TENTH: dict[Word, tuple[str, str]] = {
    "supported": (
        "Even a tenth of weight on the questions costs: {claim/a_tenth_costs/effect:points ci}",
        "即使问题的权重只有十分之一，也有代价：{claim/a_tenth_costs/effect:points ci}",
    ),
    "depends": (
        f"What a tenth of weight on the questions costs depends on the place: {_by_place('a_tenth_costs')}",
        "问题权重取十分之一的代价视情况而定：平均 {claim/a_tenth_costs/effect:points ci}",
    ),
    "refuted": (
        "A tenth of weight on the questions loses next to nothing: {claim/a_tenth_costs/effect:points ci}",
        "问题权重取十分之一几乎没有损失：{claim/a_tenth_costs/effect:points ci}",
    ),
    "inconclusive": (
        "What a tenth of weight on the questions costs could not be told: {claim/a_tenth_costs/effect:points ci}",
        "问题权重取十分之一的代价还不能断定：{claim/a_tenth_costs/effect:points ci}",
    ),
}
_REST = (
    "; against full weight it is {claim/a_tenth_better_than_all/effect:points ci}. The share of answers that stay as "
    "they were when the picture is blanked changes by {claim/relies_on_the_question/effect:points ci} with loss on all "
    "text, and the loss of held-out answers by {claim/lower_answer_loss/effect:ci} nats."
)
_REST_ZH = (
    "；与权重取满相比，变化 {claim/a_tenth_better_than_all/effect:points ci}。在全部文本上训练后，"
    "遮去图片而不变的回答所占比例变化 {claim/relies_on_the_question/effect:points ci}；"
    "留出样本上回答的损失变化 {claim/lower_answer_loss/effect:ci} 纳特。"
)
SHORT_ANSWERS = answers_from(_ALONE, _FEW, _TENTH, (_REST, _REST_ZH))

EXPERIMENT = Experiment(
    design=DESIGN,
    settings={
        "quick": Settings(200, 3000, 256, 32, 2, 16, 160, 120, 0.003, (0.001, 0.003, 0.01)),
        "full": Settings(200, 3000, 512, 32, 2, 16, 500, 300, 0.003, (0.001, 0.003, 0.01)),
    },
    measure=measure,
    present=present,
    answers=SHORT_ANSWERS,
    source="lab/experiments/answers_or_everything.py",
    helpers=("lab/experiments/answers_or_everything_network.py", "lab/questions.py", "lab/frozen_features.py"),
)

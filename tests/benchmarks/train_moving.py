"""Train the small MViT of ``framelane bench motion``; writes assets/models/moving-mvit.safetensors.

Run: ``.venv/bin/python tests/benchmarks/train_moving.py``; about twelve minutes on two idle cores. Every batch is new, so
there is no training set to learn by heart, and the seeds of held-out clips are far beyond those of training.
"""

from __future__ import annotations

import math
import time
from pathlib import Path

import torch
from safetensors.torch import save_file

from framelane.bench.moving import build_model, make_scene
from framelane.processors.attention.backbone import normalised
from framelane.processors.attention.mvit import MEAN, STD

OUT = Path(__file__).parents[2] / "assets" / "models" / "moving-mvit.safetensors"
STEPS, BATCH, RATE, WARM = 800, 24, 2e-3, 100
HELD_OUT = 10_000_000  # seeds from here on are never trained on


def normal(clips) -> torch.Tensor:
    """uint8 (N, T, 3, S, S) as the model takes it, float (N, 3, T, S, S)."""
    frames = normalised(torch.from_numpy(clips).flatten(0, 1), MEAN, STD)
    return frames.unflatten(0, clips.shape[:2]).transpose(1, 2)


def accuracy(model, count: int = 400) -> float:
    """Share of held-out clips whose class is found."""
    scene = make_scene(count, HELD_OUT)
    with torch.no_grad():
        found = torch.cat([model(normal(part)).argmax(1) for part in (scene.clips[:200], scene.clips[200:])])
    return float((found == torch.from_numpy(scene.labels)).float().mean())


def main() -> None:
    """Train, say how it goes, save in FP16."""
    steps = STEPS
    torch.manual_seed(0)
    model = build_model()
    print(f"{sum(p.numel() for p in model.parameters())} parameters")
    optimiser = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser, lambda i: min(1, (i + 1) / WARM) * 0.5 * (1 + math.cos(math.pi * i / steps))
    )
    started, shown = time.time(), 0.0
    for step in range(steps):
        scene = make_scene(BATCH, step)
        loss = torch.nn.functional.cross_entropy(model(normal(scene.clips)), torch.from_numpy(scene.labels))
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        shown = 0.98 * shown + 0.02 * loss.item() if step else loss.item()
        if step % 100 == 99:
            print(f"step {step + 1}: loss {shown:.3f}, {time.time() - started:.0f} s", flush=True)
    model.eval()
    save_file({name: value.half().contiguous() for name, value in model.state_dict().items()}, OUT)
    model.load_state_dict({name: value.half().float() for name, value in model.state_dict().items()})
    print(f"held-out accuracy {accuracy(model):.3f}; {OUT.name}: {OUT.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()

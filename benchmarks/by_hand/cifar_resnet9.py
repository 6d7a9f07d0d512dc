"""CIFAR-10 as people write it by hand: a ResNet-9, crops and mirrored pictures, SGD with a one-cycle rate.

python cifar_resnet9.py DIR [EPOCHS [WIDTH]] [--device DEVICE]: DIR holds labels.csv (image, label, split) and
the pictures. WIDTH is that of the first layer; 64 is usual, and takes minutes an epoch on two cores. On a
card the pictures lie there, and it computes in bfloat16 and channels last.
Prints a line per epoch: the epoch, the test accuracy, the seconds since the files were first read.
"""

import csv
import sys
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.nn import functional as F


def block(before: int, after: int, pool: bool = False) -> nn.Sequential:
    layers = [
        nn.Conv2d(before, after, 3, padding=1, bias=False),
        nn.BatchNorm2d(after),
        nn.ReLU(inplace=True),
    ]
    return nn.Sequential(*layers, *([nn.MaxPool2d(2)] if pool else []))


class Residual(nn.Sequential):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + super().forward(x)


def resnet9(width: int) -> nn.Module:
    a, b, c, d = width, 2 * width, 4 * width, 8 * width
    return nn.Sequential(
        *(block(3, a), block(a, b, True), Residual(block(b, b), block(b, b)), block(b, c, True)),
        *(block(c, d, True), Residual(block(d, d), block(d, d)), nn.AdaptiveMaxPool2d(1), nn.Flatten()),
        nn.Linear(d, 10),
    )


def read(folder: Path, split: str, classes: list[str]) -> tuple[torch.Tensor, torch.Tensor]:
    rows = [row for row in csv.DictReader((folder / "labels.csv").open()) if row["split"] == split]
    x = np.stack([np.asarray(Image.open(folder / row["image"]).convert("RGB")) for row in rows])
    x = torch.from_numpy(x).permute(0, 3, 1, 2).float() / 255
    mean, std = torch.tensor([0.4914, 0.4822, 0.4465]), torch.tensor([0.2470, 0.2435, 0.2616])
    y = torch.tensor([classes.index(row["label"]) for row in rows])
    return (x - mean[:, None, None]) / std[:, None, None], y


def changed(x: torch.Tensor) -> torch.Tensor:
    x = F.pad(x, (4, 4, 4, 4), mode="reflect")
    out = []
    for picture in x:
        top, left = torch.randint(9, (2,)).tolist()
        picture = picture[:, top : top + 32, left : left + 32]
        out.append(picture.flip(2) if torch.rand(()) < 0.5 else picture)
    return torch.stack(out)


def main(folder: Path, epochs: int, width: int, device: str) -> None:
    start = time.time()
    classes = sorted({row["label"] for row in csv.DictReader((folder / "labels.csv").open())})
    x, y = read(folder, "train", classes)
    test_x, test_y = read(folder, "test", classes)
    x, y, test_x, test_y = (values.to(device) for values in (x, y, test_x, test_y))
    torch.manual_seed(0)
    model, batch, on_card = resnet9(width).to(device), 512, device != "cpu"
    if on_card:
        model = model.to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, nesterov=True, weight_decay=5e-4)
    steps = epochs * -(-len(x) // batch)
    rate = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.4, total_steps=steps, pct_start=0.2)
    for epoch in range(epochs):
        model.train()
        for rows in torch.randperm(len(x)).split(batch):
            with torch.autocast(device, torch.bfloat16, enabled=on_card):
                out = model(changed(x[rows]))
            loss = F.cross_entropy(out.float(), y[rows], label_smoothing=0.1)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            rate.step()
        model.eval()
        with torch.no_grad():
            right = sum(
                (model(a).argmax(1) == b).sum().item() for a, b in zip(test_x.split(500), test_y.split(500))
            )
        print(epoch + 1, right / len(test_x), f"{time.time() - start:.2f}", flush=True)


if __name__ == "__main__":
    words = sys.argv[1:]
    device = words[-1] if "--device" in words else "cpu"
    folder, *numbers = words[:-2] if "--device" in words else words
    epochs, width = [*map(int, numbers), *[24, 16][len(numbers) :]]
    main(Path(folder), epochs, width, device)

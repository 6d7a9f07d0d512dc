"""Row B as people write it by hand: one backbone of timm's, three heads, summed cross-entropies, Adam.

python cars_multihead.py DIR [EPOCHS] [SIZE] [BACKBONE[:WEIGHTS]] [--device DEVICE]: DIR holds labels.csv and
its photos; WEIGHTS is a safetensors file. The last fifth of the rows, in a fixed shuffle, is the test set.
Prints a line per epoch: the epoch, the share of test rows with all three right, the seconds of all
training so far without evaluation, those of this epoch, and the accuracy of brand, body and era.
"""

import csv
import os
import random
import re
import sys
import time
from pathlib import Path

import timm
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

BRANDS = ["Audi", "BMW", "Chevrolet", "Dodge", "Ford", "Other"]
BODIES = ["Convertible", "Coupe", "SUV", "Van", "Other"]
NORMALISE = transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def labels(class_name: str) -> list[int]:
    """Return the numbers of brand, body and era, from a name such as 'Audi TTS Coupe 2012'."""
    brand = class_name.split()[0]
    body = next((b for b in BODIES[:-1] if re.search(rf"\b{b}\b", class_name)), "Other")
    year = int(class_name.split()[-1])
    return [BRANDS.index(brand) if brand in BRANDS else 5, BODIES.index(body), int(year >= 2010)]


class Cars(Dataset):
    def __init__(self, root: str, rows: list, transform: transforms.Compose) -> None:
        self.root, self.rows, self.transform = root, rows, transform

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        path, y = self.rows[index]
        return self.transform(Image.open(f"{self.root}/{path}").convert("RGB")), torch.tensor(y)


class Net(nn.Module):
    def __init__(self, name: str, weights: str) -> None:
        super().__init__()
        options = {"pad_type": "same"} if "mobilenetv2" in name else {}
        self.backbone = timm.create_model(name, pretrained=False, num_classes=0, **options)
        if weights:
            state = {k: v for k, v in load_file(weights).items() if not k.startswith("classifier")}
            self.backbone.load_state_dict(state)
        self.heads = nn.ModuleList(nn.Linear(self.backbone.num_features, k) for k in (6, 5, 2))

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        features = self.backbone(x)
        return [head(features) for head in self.heads]


def main(root: str, epochs: int, size: int, name: str, weights: str, device: str) -> None:
    with Path(root, "labels.csv").open(newline="") as file:
        rows = [(row["image"], labels(row["class_name"])) for row in csv.DictReader(file)]
    random.Random(0).shuffle(rows)
    count = len(rows) * 4 // 5
    changed = transforms.Compose(
        [
            transforms.RandomResizedCrop(size, (0.5, 1)),
            transforms.RandomHorizontalFlip(),
            transforms.ToTensor(),
            NORMALISE,
        ]
    )
    plain = transforms.Compose([transforms.Resize((size, size)), transforms.ToTensor(), NORMALISE])
    how = {"num_workers": len(os.sched_getaffinity(0)), "pin_memory": device != "cpu"}
    train = DataLoader(Cars(root, rows[:count], changed), 32, shuffle=True, persistent_workers=True, **how)
    test = DataLoader(Cars(root, rows[count:], plain), 64, **how)
    model = Net(name, weights).to(device)
    optimizer = torch.optim.Adam(model.parameters(), 1e-4 if weights else 1e-3)
    trained = 0.0
    for epoch in range(epochs):
        start = time.time()
        model.train()
        for x, y in train:
            x, y = x.to(device, non_blocking=True), y.to(device, non_blocking=True)
            loss = sum(F.cross_entropy(out, y[:, i]) for i, out in enumerate(model(x)))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        seconds = time.time() - start
        trained += seconds
        model.eval()
        right = torch.zeros(4, device=device)
        with torch.no_grad():
            for x, y in test:
                x, y = x.to(device), y.to(device)
                hit = torch.stack([out.argmax(1) == y[:, i] for i, out in enumerate(model(x))], 1)
                right += torch.cat([hit.all(1).sum()[None], hit.sum(0)])
        every, *each = (right / len(rows[count:])).tolist()
        print(epoch + 1, every, f"{trained:.1f} {seconds:.1f}", *each, flush=True)


if __name__ == "__main__":
    words = sys.argv[1:]
    device = words[-1] if "--device" in words else "cpu"
    words = words[:-2] if "--device" in words else words
    root, epochs, size, model = [*words, *["", "1", "128", "resnet34"][len(words) :]]
    name, _, weights = model.partition(":")
    main(root, int(epochs), int(size), name, weights, device)

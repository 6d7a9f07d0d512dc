"""Row A as people write it by hand: a two-layer CNN for MNIST with 100 tags, SGD.

python mnist_multilabel.py DIR [EPOCHS]: DIR holds MNIST/raw with the four files unzipped.
Prints a line per epoch: the epoch, the test exact match, the seconds since the files were first read.
"""

import sys
import time

import torch
from torch import nn, optim
from torch.nn import functional as F
from torch.utils.data import DataLoader
from torchvision import datasets, transforms


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(1, 16, 5, 1, 2), nn.ReLU(), nn.MaxPool2d(2))
        self.second = nn.Sequential(nn.Conv2d(16, 32, 5, 1, 2), nn.ReLU(), nn.MaxPool2d(2))
        self.out = nn.Linear(32 * 7 * 7, 100)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.sigmoid(self.out(self.second(self.first(x)).flatten(1)))


def tags(digits: torch.Tensor) -> torch.Tensor:
    """Digit d carries the tags d, d+10 and d+50."""
    return sum(F.one_hot(digits + offset, 100) for offset in (0, 10, 50))


def loss_of(p: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return -(y * torch.log(p) + (1 - y) * torch.log(1 - p)).sum()


def main(root: str, epochs: int) -> None:
    start = time.time()
    train = datasets.MNIST(root, train=True, transform=transforms.ToTensor())
    test = datasets.MNIST(root, train=False, transform=transforms.ToTensor())
    train_loader = DataLoader(train, batch_size=128, shuffle=True)
    test_loader = DataLoader(test, batch_size=512)
    model = Net()
    optimizer = optim.SGD(model.parameters(), lr=0.002)
    for epoch in range(epochs):
        for x, y in train_loader:
            optimizer.zero_grad()
            loss = loss_of(model(x), tags(y)) / len(x)
            loss.backward()
            optimizer.step()
        right = 0
        with torch.no_grad():
            for x, y in test_loader:
                right += ((model(x) >= 0.5) == tags(y).bool()).all(1).sum().item()
        print(epoch + 1, right / len(test), f"{time.time() - start:.2f}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 10)

"""Row C as people write it by hand: an MLP for MNIST, ten classes, SGD.

python mnist_multiclass.py DIR [EPOCHS]: DIR holds MNIST/raw with the four files unzipped.
Prints a line per epoch: the epoch, the test accuracy, the seconds since the files were first read.
"""

import sys
import time
from itertools import pairwise

import torch
from torch import nn, optim
from torch.nn import functional as F
from torch.utils.data import DataLoader
from torchvision import datasets, transforms


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        widths = [784, 512, 256, 128, 64, 10]
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(widths))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x.view(-1, 784)
        for layer in self.layers[:-1]:
            x = F.relu(layer(x))
        return self.layers[-1](x)


def main(root: str, epochs: int) -> None:
    start = time.time()
    normalise = transforms.Compose([transforms.ToTensor(), transforms.Normalize((0.1307,), (0.3081,))])
    train = datasets.MNIST(root, train=True, transform=normalise)
    test = datasets.MNIST(root, train=False, transform=normalise)
    train_loader = DataLoader(train, shuffle=True, batch_size=64)
    test_loader = DataLoader(test, shuffle=False, batch_size=64)
    model = Net()
    criterion = nn.CrossEntropyLoss()
    optimizer = optim.SGD(model.parameters(), lr=0.01, momentum=0.5)
    for epoch in range(epochs):
        for x, y in train_loader:
            loss = criterion(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            loss.item()
        with torch.no_grad():
            right = sum((model(x).argmax(1) == y).sum().item() for x, y in test_loader)
        print(epoch + 1, right / len(test), f"{time.time() - start:.2f}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 10)

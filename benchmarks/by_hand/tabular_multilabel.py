"""Row E as people write it by hand: an MLP for a table of 10 numbers with 3 tags, Adam.

python tabular_multilabel.py [EPOCHS] [RANDOM_STATE]
Prints a line per epoch: the epoch, the test exact match, the seconds since training began.
"""

import sys
import time

import torch
from sklearn.datasets import make_multilabel_classification
from sklearn.model_selection import train_test_split
from torch import nn
from torch.utils.data import DataLoader


def main(epochs: int, random_state: int) -> None:
    X, y = make_multilabel_classification(
        n_samples=1000, n_features=10, n_classes=3, n_labels=2, random_state=random_state
    )
    arrays = train_test_split(X, y, test_size=0.33, random_state=42)
    x_train, x_test, y_train, y_test = (torch.from_numpy(array).float() for array in arrays)
    loader = DataLoader(list(zip(x_train, y_train, strict=True)), batch_size=64, shuffle=True)
    model = nn.Sequential(nn.Linear(10, 30), nn.ReLU(), nn.Linear(30, 3), nn.Sigmoid())
    criterion = nn.BCELoss()
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    start = time.time()
    for epoch in range(epochs):
        for x, y in loader:
            loss = criterion(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        with torch.no_grad():
            exact = ((model(x_test) >= 0.5) == y_test.bool()).all(1).float().mean().item()
        print(epoch + 1, exact, f"{time.time() - start:.2f}", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 20, int(sys.argv[2]) if len(sys.argv) > 2 else 1)

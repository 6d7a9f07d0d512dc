"""Decoding photos as people write it by hand: a folder of class folders, resized, in batches of tensors.

python decode.py DIR WORKERS: DIR holds a folder of pictures for each class.
Prints a line: the epoch, the number of pictures, the seconds since the files were first looked for.
"""

import sys
import time

from torch.utils.data import DataLoader
from torchvision import datasets, transforms


def main(root: str, workers: int) -> None:
    start = time.time()
    transform = transforms.Compose([transforms.Resize((128, 128)), transforms.ToTensor()])
    data = datasets.ImageFolder(root, transform)
    loader = DataLoader(data, batch_size=64, num_workers=workers)
    count = sum(len(x) for x, _ in loader)
    print(1, count, f"{time.time() - start:.3f}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))

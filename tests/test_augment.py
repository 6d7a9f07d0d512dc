"""Pictures changed at random: seeded, in range, and with labels that go along."""

import numpy as np
import pytest
import torch

from manyhot.data.batches.augment import Augmentation, augment, mirror, mixup, random_erasing
from manyhot.data.batches.loader import Loader


def drawn(seed=0):
    return torch.Generator().manual_seed(seed)


def pictures(rows=6, side=12, channels=3, seed=0):
    return torch.randint(0, 256, (rows, side, side, channels), dtype=torch.uint8, generator=drawn(seed))


@pytest.mark.parametrize("how", ["shift", "warp", "move", "crop", "photo"])
@pytest.mark.parametrize("side", [6, 12, 20])
def test_pictures_come_at_the_side_that_is_asked_for(how, side):
    out = augment(pictures(), how, drawn(), side=side)
    assert out.shape == (6, side, side, 3)
    assert 0 <= out.min() <= out.max() <= 255.01


def test_photos_are_mirrored_half_of_the_time():
    ramp = torch.arange(32, dtype=torch.uint8).repeat(400, 32, 1)[..., None] * 8
    out = augment(ramp, "crop", drawn())
    mirrored = (out[:, 16, 2, 0] > out[:, 16, -3, 0]).float().mean()
    assert 0.4 < mirrored < 0.6


def test_small_pictures_are_moved_by_whole_pixels():
    """Each is a part of the picture with its own mirror image around it; by up to an eighth of the side."""
    x = pictures(200, side=16)
    out = augment(x, "move", drawn())
    wide = np.pad(x.numpy(), ((0, 0), (2, 2), (2, 2), (0, 0)), mode="reflect")
    found = set()
    for picture, around in zip(out.numpy(), wide):
        places = [(i, j) for i in range(5) for j in range(5)]
        found |= {(i, j) for i, j in places if (around[i : i + 16, j : j + 16] == picture).all()}
    assert len(found) == 25
    assert augment(x[:1, :1, :1], "move", drawn(), rows=1).shape == (1, 1, 1, 3)


@pytest.mark.parametrize("how", ["none", "shift", "move"])
def test_half_of_the_pictures_are_mirrored_where_that_is_asked_for(how):
    ramp = np.tile(np.arange(32, dtype=np.uint8)[:, None] * 8, (400, 32, 1, 1))
    y = {"y": np.zeros(400, np.int32)}
    for asked in (True, False):
        x = Loader(ramp, y, 400, 0, Augmentation(how, mirror=asked)).batch(0).x
        mirrored = (x[:, 16, 4, 0] > x[:, 16, -5, 0]).float().mean()
        assert (0.4 < mirrored < 0.6) if asked else mirrored == 0


def test_processes_mirror_the_pictures_that_one_would():
    x = pictures(12)
    whole = mirror(x, drawn(), 12)
    parts = [mirror(x[rank::2], drawn(), 12, slice(rank, None, 2)) for rank in range(2)]
    assert all(torch.equal(whole[rank::2], part) for rank, part in enumerate(parts))


def test_a_change_of_colour_is_one_of_several():
    """Of even pictures each stays even, most keep their colour, and some do not."""
    even = torch.full((400, 8, 8, 3), 100, dtype=torch.uint8)
    out = augment(even, "photo", drawn())
    assert (out.flatten(1, 2).std(dim=1) < 0.01).all()
    kept = (out[:, 0, 0] - 100).abs().max(dim=1).values < 0.01
    assert 0.4 < kept.float().mean() < 0.8


def test_erasing_paints_a_rectangle_in_the_mean_colour():
    x = pictures(200)
    out = random_erasing(x, 0.5, drawn(), len(x))
    changed = (out != x.float()).any(dim=3)
    touched = changed.flatten(1).any(dim=1)
    assert 0.35 < touched.float().mean() < 0.65
    for picture, mask, mean in zip(out, changed, x.float().mean(dim=(1, 2))):
        if mask.any():
            rows, columns = mask.any(dim=1).nonzero(), mask.any(dim=0).nonzero()
            inside = picture[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
            assert torch.allclose(inside, mean.expand_as(inside))
            assert inside[..., 0].numel() <= 0.35 * mask.numel()


def test_a_mixed_picture_is_of_each_what_its_share_says():
    rows = 300
    level = torch.arange(rows, dtype=torch.float32)
    x = level[:, None, None, None].expand(rows, 10, 10, 1)
    out, partner, own = mixup(x, 0.7, drawn())
    assert torch.equal(partner, torch.arange(rows).roll(1))
    wanted = own * level + (1 - own) * level[partner]
    assert torch.allclose(out.mean(dim=(1, 2, 3)), wanted, atol=1e-2)
    assert 0.6 < (own < 1).float().mean() < 0.8
    assert ((own >= 0) & (own <= 1)).all()
    blended = (out.flatten(1).std(dim=1) < 1e-4) & (own < 0.95) & (own > 0.05)
    assert 0.2 < blended.float().mean() < 0.5  # the others have a rectangle of their partner
    assert torch.equal(mixup(x, 0.0, drawn())[0], x)


def test_pictures_grow_with_the_training():
    growing = Augmentation("photo", first_size=96)
    sides = [growing.side(160, done / 100) for done in range(100)]
    assert sides[0] == 96
    assert sides[-1] == 160
    assert sides == sorted(sides)
    assert all(side % 16 == 0 for side in sides)
    assert Augmentation("photo").side(160, 0.1) == 160
    assert Augmentation("photo", first_size=200).side(160, 0.1) == 160


def loader(changes, share=(0, 1), **more):
    x = np.random.default_rng(0).integers(0, 256, (20, 32, 32, 3), dtype=np.uint8)
    return Loader(x, {"y": np.arange(20, dtype=np.int32)}, 8, 1, changes, share=share, **more)


def test_batches_grow_and_repeat():
    changes = Augmentation("photo", random_erasing=0.5, mixup=0.5, first_size=16)
    sides = [loader(changes, epochs=4).batch(step).x.shape[1] for step in range(10)]
    assert sides == [16] * 7 + [32] * 3
    a, b = (loader(changes, epochs=4).batch(3) for _ in range(2))
    assert torch.equal(a.x, b.x)
    assert torch.equal(a.lam, b.lam)


def test_processes_share_a_mixed_batch():
    changes = Augmentation("crop", random_erasing=0.5, mixup=1.0)
    whole = loader(changes).batch(2)
    for rank in range(3):
        mine = loader(changes, (rank, 3)).batch(2)
        assert torch.equal(mine.x, whole.x[rank::3])
        assert torch.equal(mine.y["y"], whole.y["y"][rank::3])
        assert torch.equal(mine.y2["y"], whole.y2["y"][rank::3])
        assert torch.equal(mine.lam, whole.lam[rank::3])


def test_without_mixing_a_row_has_its_own_labels_only():
    batch = loader(Augmentation("crop")).batch(0)
    assert batch.y2 is None
    assert batch.lam is None

"""Groups without labels: found, answered by centroids, judged, shown, named, spread."""

import base64
import hashlib
import itertools
import json
import re

import numpy as np
import pytest
import torch
from making import features, pixels, write_csv, write_pictures
from sklearn.datasets import make_blobs
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

import manyhot
from manyhot.cli import main
from manyhot.clustering import centroids, group, layout, learn, names, space
from manyhot.clustering.answer import head, temperature
from manyhot.clustering.scores import agreement
from manyhot.clustering.spread import spread
from manyhot.errors import RunError, UserError

QUICK = {"epochs": 2, "threads": 1, "batch_size": 32}


def blobs(rows=240, centers=4, columns=3, seed=1):
    z, y = make_blobs(rows, columns, centers=centers, random_state=seed)
    return z.astype(np.float32), y


def table_of(z, **more):
    return {f"c{i}": column for i, column in enumerate(z.T)} | more


@pytest.fixture(scope="module")
def found():
    z, y = blobs()
    return manyhot.cluster(table_of(z, kind=[f"k{n}" for n in y]), target="kind", clusters=4)


# Grouping.


def test_k_means_finds_blobs_and_numbers_them_by_size():
    z, y = make_blobs([30, 90, 60], 2, random_state=3, cluster_std=0.3)
    found = group.group(z.astype(np.float32), 3, seed=0)
    assert np.bincount(found.labels).tolist() == [90, 60, 30]
    assert adjusted_rand_score(y, found.labels) == 1
    for number in range(3):
        assert np.allclose(found.centroids[number], z[found.labels == number].mean(axis=0), atol=1e-4)


@pytest.mark.parametrize(("centers", "seed"), [(3, 0), (5, 1), (8, 3)])
def test_the_number_of_clusters_is_that_of_the_blobs(centers, seed):
    z, _ = blobs(1_000, centers, 6, seed)
    found = group.group(z, None, seed=0)
    assert len(found.centroids) == centers
    assert found.tried[centers] > 0.8 > found.tried[centers + 1]


def test_noise_has_no_strong_number_of_clusters():
    found = group.group(np.random.default_rng(0).normal(size=(600, 5)).astype(np.float32), None, seed=0)
    assert max(found.tried.values()) < group.STRONG
    assert found.tried[len(found.centroids)] == max(found.tried.values())
    assert found.why.startswith("no number holds")


def test_few_rows_are_parted_in_two_and_it_is_said_why():
    found = group.group(np.float32([[0, 0], [0, 1], [9, 9], [9, 8], [8, 9]]), None, seed=0)
    assert len(found.centroids) == 2
    assert found.tried == {}
    assert found.why.startswith("too few")


def test_rows_that_differ_may_all_stand_at_the_end():
    z = np.zeros((group.WHOLE + 400, 2), np.float32)
    z[-4_000:] = 1
    assert len(group.group(z, 2, seed=0).centroids) == 2


def test_few_rows_are_not_gathered_into_one():
    angles = np.repeat([0.0, 2.0], 5) + np.linspace(0, 0.2, 10)
    z = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    moved = space.gathered(z, seed=0)
    assert np.linalg.norm(moved[:5].mean(axis=0) - moved[5:].mean(axis=0)) > 1


def test_prediction_strength_of_two_far_groups_is_one():
    z = np.concatenate([np.zeros((20, 1)), np.ones((20, 1))]).astype(np.float32)
    z += np.random.default_rng(0).normal(0, 0.01, z.shape).astype(np.float32)
    assert group.strength(z, 2, seed=0) == 1


def test_many_rows_are_gone_through_a_batch_at_a_time(monkeypatch):
    monkeypatch.setattr(group, "WHOLE", 200)
    monkeypatch.setattr(centroids, "BATCH", 64)
    z, y = blobs(1_000, 5)
    told = []
    found = group.group(z, 5, seed=0, progress=lambda done, total: told.append((done, total)))
    assert adjusted_rand_score(y, found.labels) > 0.99
    assert told[-1] == (2_000, 2_000)
    assert [done for done, _ in told] == sorted({done for done, _ in told})


def test_nearest_agrees_with_the_distances_written_out():
    rng = np.random.default_rng(0)
    z, places = (
        rng.normal(100, 1, (50, 4)).astype(np.float32),
        rng.normal(100, 1, (3, 4)).astype(np.float32),
    )
    lengths = np.linalg.norm(z[:, None].astype(float) - places, axis=2)
    labels, distances, margins = centroids.nearest(z, places)
    assert (labels == lengths.argmin(axis=1)).all()
    assert np.allclose(distances, lengths.min(axis=1), atol=1e-3)
    first, second = np.sort(lengths, axis=1)[:, :2].T
    assert np.allclose(margins, 1 - first / second, atol=1e-3)


def test_a_row_far_from_every_centroid_is_an_outlier():
    z, _ = blobs(cluster := 200)
    z = np.concatenate([z, [[500, 500, 500]]]).astype(np.float32)
    found = group.settle(z, centroids.k_means(z[:cluster], 4, seed=0), {}, "")
    assert found.outliers()[-1]
    assert found.outliers()[:-1].mean() < 0.02


def test_equal_rows_have_no_outliers():
    z = np.repeat(np.float32([[0, 0], [1, 1]]), 10, axis=0)
    assert not group.group(z, 2, seed=0).outliers().any()


@pytest.mark.parametrize(
    ("z", "clusters", "message"),
    [
        (np.eye(5, dtype=np.float32), 1, "at least 2"),
        (np.eye(5, dtype=np.float32), 5, "5 rows cannot be parted into 5"),
        (np.ones((9, 2), np.float32), 2, "all rows are equal"),
        (np.repeat(np.eye(2, dtype=np.float32), 9, axis=0), 3, "only 2 rows differ"),
        (np.ones((9, 2), np.float32), None, "all rows are equal"),
    ],
)
def test_what_cannot_be_parted_is_refused(z, clusters, message):
    with pytest.raises(UserError, match=message):
        group.group(z, clusters, seed=0)


def test_discriminants_part_what_a_long_axis_hides():
    """Two groups a little apart along the short axis of a long cloud, most of whose distance is noise."""
    rng = np.random.default_rng(0)
    y = np.arange(400) % 2
    z = np.column_stack([rng.normal(0, 30, 400), y * 2 + rng.normal(0, 0.3, 400)]).astype(np.float32)
    apart = z @ space.discriminants(z, y)
    assert apart.shape == (400, 1)
    assert np.std(apart[y == 0]) == pytest.approx(1, rel=0.1)
    assert (centroids.nearest(apart, centroids.means(apart, y))[0] == y).mean() > 0.99
    assert (centroids.nearest(z, centroids.means(z, y))[0] == y).mean() < 0.8


# Answering by centroids.


@pytest.mark.parametrize("members", [1, 3])
def test_the_head_is_the_softmax_of_squared_distances(members):
    rng = np.random.default_rng(0)
    z, places = rng.normal(5, 2, (20, members, 4)), rng.normal(5, 2, (members, 4, 6))
    weight, bias = head(places.astype(np.float32), tau=3.0)
    logits = torch.from_numpy(np.einsum("nmf,mfk->nmk", z, weight) + bias)
    squares = ((z[..., None] - places) ** 2).sum(axis=2)
    wanted = torch.softmax(torch.from_numpy(-squares / 3.0), dim=-1)
    assert torch.allclose(torch.softmax(logits, dim=-1), wanted, atol=1e-4)


def test_the_temperature_is_twice_the_variance_of_round_clusters():
    rng = np.random.default_rng(0)
    z = (rng.integers(0, 2, (4_000, 1)) * 50 + rng.normal(0, 3, (4_000, 5))).astype(np.float32)
    assert temperature(group.group(z, 2, seed=0), z) == pytest.approx(2 * 3**2, rel=0.05)


def test_one_centroid_is_nearest_to_all():
    labels, distances, margins = centroids.nearest(np.eye(3, dtype=np.float32), np.zeros((1, 3), np.float32))
    assert labels.tolist() == [0, 0, 0]
    assert distances == pytest.approx([1, 1, 1])
    assert margins.tolist() == [1, 1, 1]


def test_clusters_of_counts_are_saved_as_others_are(tmp_path):
    z, _ = blobs()
    table = table_of((z - z.min()).round().astype(int))
    found = manyhot.cluster(table, clusters=4)
    found.save(tmp_path / "groups")
    answers = manyhot.load(tmp_path / "groups").predict(table)["cluster"]
    assert answers == [str(number) for number in found.groups.labels]


def test_a_saved_clustering_answers_as_it_did(found, tmp_path):
    found.save(tmp_path / "groups")
    loaded = manyhot.load(tmp_path / "groups")
    card = (tmp_path / "groups" / "README.md").read_text()
    assert card.startswith("---\nlibrary_name: manyhot\ntags:\n- manyhot\n- clustering\n---\n\n# Clusters\n")
    assert "in 4 clusters" in card
    answers = loaded.predict(tmp_path / "groups" / "clusters.csv")["cluster"]
    assert answers == [str(number) for number in found.groups.labels]
    scores = loaded.evaluate(tmp_path / "groups" / "clusters.csv")
    assert scores["targets"]["cluster"]["accuracy"] == 1
    assert np.allclose(loaded.embed(found.table), found.z)
    new = table_of(found.groups.centroids * 1.0)
    assert len(loaded.predict(found.table.take(np.arange(3)))["cluster"]) == 3
    assert new.keys() <= set(found.table.names)


def test_a_stopped_run_leaves_nothing(tmp_path, monkeypatch, capsys):
    def stop(*arguments):
        raise KeyboardInterrupt

    write_pictures(tmp_path / "data", 60)
    monkeypatch.setattr(learn, "contrast", stop)
    assert main(["cluster", str(tmp_path / "data"), "--out", str(tmp_path / "out"), "--clusters", "2"]) == 130
    assert "stopped" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def test_the_rows_come_out_as_they_came_with_a_cluster(found):
    rows = found.answers()
    assert rows.names == (*found.table.names, "cluster")
    cells = rows.column("cluster").to_pylist()
    assert [cell is None for cell in cells] == found.groups.outliers().tolist()
    for name in found.table.names:
        assert rows.column(name).equals(found.table.column(name))
    assert found.scores["sizes"] == {str(n): cells.count(str(n)) for n in range(4)}


def test_a_column_called_cluster_is_kept_under_another_name():
    z, _ = blobs(60)
    rows = manyhot.cluster(
        table_of(z, cluster=["x", "y"] * 30), clusters=2, kinds={"cluster": "ignore"}
    ).answers()
    assert rows.column("cluster_given").to_pylist() == ["x", "y"] * 30


def test_what_is_in_the_way_of_the_answer_is_refused_before_anything_is_learned():
    z, _ = blobs(60)
    table = table_of(z, cluster=["x", "y"] * 30, cluster_given=["x", "y"] * 30)
    with pytest.raises(UserError, match="'cluster_given' is in the way"):
        manyhot.cluster(table, clusters=2)


def test_columns_that_are_left_out_are_named():
    z, y = blobs(60)
    table = table_of(z, kind=[f"k{n}" for n in y], same=["x"] * 60)
    notes = manyhot.cluster(table, clusters=2, target="kind").notes
    assert any("'same' is left out" in note for note in notes)
    assert not any("'kind'" in note for note in notes)


def test_a_backbone_that_knows_nothing_is_refused():
    z, _ = blobs(60)
    with pytest.raises(UserError, match="'mlp' knows nothing yet"):
        manyhot.cluster(table_of(z), clusters=2, backbone="mlp")
    with pytest.raises(UserError, match="'tabm' knows nothing yet"):
        manyhot.cluster(pixels(40), clusters=2, backbone="tabm")


def test_categories_and_missing_numbers_are_grouped_too():
    origin = features(60)["origin"]
    table = {"origin": origin, "way": [f"to {name}" for name in origin], "climate": origin}
    found = manyhot.cluster(table | {"weight": [None, 1.0, 1.1, 0.9] * 15}, clusters=3)
    assert agreement(found.table.cells("origin").codes, found.groups.labels)["nmi"] > 0.9


def test_labels_of_a_source_are_no_features_and_are_compared():
    found = manyhot.cluster((pixels(60), ["a", "b", "c"] * 20), clusters=3, **QUICK)
    assert set(found.scores["targets"]) == {"label"}
    assert found.answers().names == ("row", "label", "cluster")


# Scores.


def test_agreement_is_scikit_learns_and_the_best_of_all_assignments():
    rng = np.random.default_rng(0)
    for classes, clusters in ((3, 3), (4, 2), (2, 5)):
        y, labels = rng.integers(0, classes, 80), rng.integers(0, clusters, 80)
        found = agreement(y, labels)
        assert found["nmi"] == pytest.approx(normalized_mutual_info_score(y, labels))
        assert found["ari"] == pytest.approx(adjusted_rand_score(y, labels))
        size = max(classes, clusters)
        best = max(np.mean(np.array(order)[labels] == y) for order in itertools.permutations(range(size)))
        assert found["clustering_accuracy"] == pytest.approx(best)


def test_unknown_labels_are_left_out_of_agreement():
    y, labels = np.array([0, 0, 1, 1, -1, -1]), np.array([1, 1, 0, 0, 0, 1])
    assert agreement(y, labels) == {"nmi": 1.0, "ari": 1.0, "clustering_accuracy": 1.0}
    assert set(agreement(np.full(3, -1), np.zeros(3, int)).values()) == {None}


def test_the_scores_of_blobs(found):
    assert found.scores["targets"]["kind"]["nmi"] > 0.95
    assert 0.5 < found.scores["silhouette"] <= 1
    json.dumps(found.scores, allow_nan=False)


# Learning without labels.


def test_the_loss_of_copies_is_as_it_is_written():
    z = torch.randn(6, 4, generator=torch.Generator().manual_seed(0))
    unit = z / z.norm(dim=1, keepdim=True)
    losses = []
    for i in range(6):
        likes = torch.stack([unit[i] @ unit[j] / 0.5 for j in range(6) if j != i])
        partner = unit[i] @ unit[(i + 3) % 6] / 0.5
        losses.append(torch.logsumexp(likes, 0) - partner)
    assert learn.contrast(z).item() == pytest.approx(torch.stack(losses).mean().item(), rel=1e-5)


@pytest.mark.parametrize(("late", "steps"), [(False, 3), (True, 5)], ids=["at once", "looked at later"])
def test_a_loss_that_is_not_finite_is_named_with_its_rows(monkeypatch, late, steps):
    class Watched(learn.Losses):
        def __init__(self, *given):
            super().__init__(*given)
            self.defers = late  # as on a card

    taken, contrast = [], learn.contrast

    def spoilt(projected):
        taken.append(projected)
        return contrast(projected) * (float("nan") if len(taken) == 3 else 1.0)

    monkeypatch.setattr(learn, "contrast", spoilt)
    monkeypatch.setattr(learn, "Losses", Watched)
    with pytest.raises(RunError, match=r"the loss is nan at step 3 \(table rows \d+, .*nothing is written"):
        manyhot.cluster(pixels(80), clusters=3, **QUICK)
    assert len(taken) == steps


def test_digits_fall_into_groups():
    """A quarter of the pictures and of the time; the full measure is benchmarks/clusters.py."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    some = np.isin(digits.target, [0, 4, 6])
    images = (digits.images[some] * 255 / 16).round().astype(np.uint8)
    found = manyhot.cluster((images, digits.target[some].astype(str)), clusters=3, epochs=15, threads=1)
    assert found.scores["targets"]["label"]["clustering_accuracy"] > 0.95
    assert found.bundle.config.backbone == "cnn"


def test_the_same_seed_gives_the_same_groups_and_weights():
    images = pixels(80)
    first, again, other = (manyhot.cluster(images, clusters=3, seed=seed, **QUICK) for seed in (1, 1, 2))
    assert (first.groups.labels == again.groups.labels).all()
    for name, value in first.bundle.predictor.state_dict().items():
        assert torch.equal(value, again.bundle.predictor.state_dict()[name]), name
    assert not np.array_equal(first.z[:, :1], other.z[:, :1])


# Seeing by a given model or weights.


@pytest.mark.parametrize("folds", [1, 3])
def test_rows_are_seen_by_a_given_model(folds, tmp_path):
    z, y = blobs(90, 3)
    table = table_of(z, kind=[f"k{n}" for n in y])
    options = {"folds": folds} if folds > 1 else {"folds": 1, "validation": 0.2}
    model = manyhot.fit(
        table, ["kind"], epochs=5, effort="fast", threads=1, out=tmp_path / "model", **options
    )
    found = manyhot.cluster(table, target="kind", clusters=3, features=str(tmp_path / "model"))
    assert np.allclose(found.z, model.embed(table), atol=1e-5)
    found.save(tmp_path / "groups")
    answers = manyhot.load(tmp_path / "groups").predict(table)["cluster"]
    assert np.mean(np.array(answers).astype(int) == found.groups.labels) > 0.95
    assert found.scores["targets"]["kind"]["clustering_accuracy"] > 0.95


def test_a_model_that_sees_the_known_labels_is_refused(tmp_path):
    z, y = blobs(90, 3)
    table = table_of(z, kind=[f"k{n}" for n in y], other=["a", "b", "c"] * 30)
    manyhot.fit(table, ["other"], epochs=1, effort="fast", threads=1, out=tmp_path / "model")
    with pytest.raises(UserError, match="sees 'kind'"):
        manyhot.cluster(table, target="kind", clusters=3, features=str(tmp_path / "model"))


def test_photos_without_weights_are_made_small(tmp_path, log_lines):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 255, (24, 80, 80, 3), dtype=np.uint8)
    found = manyhot.cluster(images, clusters=2, **QUICK)
    assert found.bundle.inputs.size == (64, 64)
    assert found.bundle.config.augment == "crop"
    assert any("learns to tell them apart by itself" in line for line in log_lines)


def test_pictures_are_seen_by_given_weights(tmp_path):
    import timm
    from safetensors.torch import save_file

    torch.manual_seed(0)
    network = timm.create_model("mobilenetv3_small_050", num_classes=0, in_chans=1)
    save_file(network.state_dict(), tmp_path / "weights.safetensors")
    rng = np.random.default_rng(0)
    images = rng.integers(0, 60, (40, 72, 72), dtype=np.uint8)
    images[::2, 20:50] += 150
    options = {"backbone": "mobilenetv3_small_050", "threads": 1}
    found = manyhot.cluster(images, clusters=2, features=str(tmp_path / "weights.safetensors"), **options)
    assert found.bundle.inputs.size == (224, 224)  # which the weights were made for
    assert agreement(np.arange(40) % 2, found.groups.labels)["nmi"] == 1
    weights = str(tmp_path / "weights.safetensors")  # with which `fit` is to begin as well
    assert found.scores["options"][-4:] == ["--backbone", "mobilenetv3_small_050", "--weights", weights]
    found.save(tmp_path / "groups")
    (tmp_path / "weights.safetensors").unlink()  # the bundle has its own
    answers = manyhot.load(tmp_path / "groups").predict(images)["cluster"]
    assert answers == [str(number) for number in found.groups.labels]


# The page.


def page_of(found):
    return found.page("some where")


def test_the_page_allows_its_own_script_and_nothing_else(found):
    page = page_of(found)
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page)[1]
    script = re.search(r"<script>(.*)</script>", page, re.DOTALL)[1]
    allowed = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{allowed}'" in policy
    assert "default-src 'none'" in policy
    assert not re.search(r'(src|href)="(?!data:|#)', page)
    assert "http" not in script


def test_the_page_shows_every_cluster_and_row(found):
    page = page_of(found)
    chart = json.loads(re.search(r'id="data">(.*?)</script>', page, re.DOTALL)[1])
    labels = np.frombuffer(base64.b64decode(chart["labels"]), "<u2")
    rows = np.frombuffer(base64.b64decode(chart["rows"]), "<u4")
    assert labels.tolist() == found.groups.labels.tolist()
    assert rows.tolist() == found.table.rows.tolist()
    assert page.count('<article class="cluster"') == 4
    assert len(set(chart["hues"])) == 4
    assert "What tells it apart" in page


def test_the_map_may_be_coloured_by_known_labels():
    z, y = blobs(60, 3)
    kind = [None if i == 7 else f"k{n}" for i, n in enumerate(y)]
    page = manyhot.cluster(table_of(z, kind=kind), target="kind", clusters=3).page()
    (known,) = json.loads(re.search(r'id="data">(.*?)</script>', page, re.DOTALL)[1])["known"]
    numbers = np.frombuffer(base64.b64decode(known["labels"]), "<u2")
    assert [[*known["classes"], None][number] for number in numbers] == kind
    assert known["hues"][-1] is None  # of what is unknown
    assert len({*known["hues"]}) == 4
    assert 'data-known="0">kind</button>' in page
    many = manyhot.cluster(table_of(z, kind=[f"k{i}" for i in range(60)]), target="kind", clusters=3).page()
    assert "Coloured by" not in many  # more labels than anybody tells apart by their colours


@pytest.mark.parametrize(
    ("apart", "clusters", "advice"), [(9, 2, None), (0, 2, "--clusters 12"), (0, 14, "0+3=NAME")]
)
def test_groups_that_run_into_each_other_are_told_with_what_to_do(apart, clusters, advice):
    z = np.random.default_rng(0).normal(size=(200, 30)).astype(np.float32)
    z[::2] += apart
    notes = [note for note in manyhot.cluster(table_of(z), clusters=clusters).notes if "run into" in note]
    assert len(notes) == (advice is not None)
    assert advice is None or advice in notes[0]
    assert ("--clusters" in "".join(notes)) == (advice == "--clusters 12")


def test_dates_tell_clusters_apart_by_their_means():
    days = [f"20{year}-06-{day:02}" for year in (10, 20) for day in range(1, 31)]
    table = {"sold": days, "size": [0.0, 0.1] * 15 + [5.0, 5.1] * 15}
    page = manyhot.cluster(table, clusters=2).page()
    assert "2010-06-15" in page
    assert "2020-06-15" in page
    assert "sold is" not in page


def test_a_page_of_pictures_has_sheets_of_them():
    page = manyhot.cluster(pixels(60), clusters=2, **QUICK).page()
    assert page.count("Central") == 2
    assert page.count('<img src="data:image/png;base64,') > 20
    assert "data:image/jpeg;base64," in page


def test_what_users_write_is_escaped():
    z, _ = blobs(60)
    bad = "</script><script>alert(1)</script>"
    table = table_of(z) | {bad: z[:, 0], "kind": ["a<b>", "c&d"] * 30}
    page = manyhot.cluster(table, clusters=2, target="kind").page(bad)
    assert "<script>alert" not in page
    assert "a<b>" not in page
    assert "a&lt;b&gt;" in page


@pytest.mark.parametrize("rows", [5, 40, 300])
def test_a_map_has_a_place_for_each_row(rows, monkeypatch):
    monkeypatch.setattr(layout, "PLACED", 100)
    monkeypatch.setattr(layout.importlib.util, "find_spec", lambda name: None)
    z, _ = blobs(rows, 2)
    places, method = layout.flat(z, seed=0)
    assert places.shape == (rows, 2)
    assert places.min() >= 0
    assert places.max() <= 1
    assert method == ("their first two directions" if rows == 5 else "t-SNE")


def test_a_map_of_one_direction_keeps_it():
    z = np.arange(30, dtype=np.float32)[:, None]
    places, method = layout.flat(z, seed=0)
    assert "one direction" in method
    assert abs(np.corrcoef(places[:, 0], z[:, 0])[0, 1]) > 0.99


# Names and known labels.


@pytest.fixture
def groups(found, tmp_path):
    found.save(tmp_path / "groups")
    return tmp_path / "groups"


def test_names_become_labels_that_fit_reads(groups, tmp_path, capsys):
    assert main(["name", str(groups), "0=dog", "1+2=big cat", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    named = manyhot.read(groups / "named.csv")
    clusters = manyhot.read(groups / "clusters.csv").column("cluster").to_pylist()
    wanted = {"0": "dog", "1": "big cat", "2": "big cat"}
    assert named.column("label").to_pylist() == [wanted.get(cluster) for cluster in clusters]
    assert "cluster" not in named.names
    assert said["named"] == sum(cluster in wanted for cluster in clusters)
    words = said["fit"].split()[1:]
    assert words[words.index("--kind") + 1] == "kind=ignore"
    quick = ["--epochs", "3", "--effort", "fast", "--set", "threads=1"]
    assert main([*words, *quick]) == 0
    fitted = manyhot.load(words[words.index("--out") + 1])
    assert fitted.schema.target("label").classes == ("big cat", "dog")
    assert "kind" not in [column.name for column in fitted.schema.inputs]


def test_the_command_tells_a_machine_what_it_found(tmp_path, capsys):
    z, y = blobs(120)
    path = write_csv(tmp_path / "table.csv", table_of(z, kind=[f"k{n}" for n in y]))
    out = tmp_path / "out"
    assert main(["cluster", str(path), "--target", "kind", "--out", str(out), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said == {"out": str(out)} | json.loads((out / "metrics.json").read_text())
    assert said["clusters"] == 4
    assert said["prediction_strength"]["4"] > 0.8
    assert {path.name for path in out.iterdir()} >= {
        "clusters.csv",
        "clusters.html",
        "manyhot.json",
        "README.md",
    }


def test_names_come_from_a_table_too(groups, tmp_path):
    path = write_csv(tmp_path / "names.csv", {"cluster": [0, 1, 2], "name": ["dog", "cat", None]})
    found = names.read_names(groups)
    assert names.parse([str(path), "3=cow"], found) == {"0": "dog", "1": "cat", "3": "cow"}


def test_a_table_of_names_needs_no_header(groups, tmp_path):
    path = tmp_path / "names.csv"
    path.write_text("0, dog\n1,cat\n2,dog\n")
    assert names.parse([str(path)], names.read_names(groups)) == {"0": "dog", "1": "cat", "2": "dog"}


def test_the_fit_line_reads_the_table_as_cluster_did(tmp_path, capsys):
    z, y = blobs(120)
    table = table_of(z, kind=[f"k{n}" for n in y], cluster=["?", "1"] * 60)
    path = write_csv(tmp_path / "table.csv", table)
    out = str(tmp_path / "out")
    words = ["cluster", str(path), "--target", "cluster", "--clusters", "3", "--out", out]
    assert main([*words, "--missing", "?,-", "--kind", "kind=ignore"]) == 0
    capsys.readouterr()
    assert main(["name", out, "0=one; two", "1=three", "--json"]) == 0
    line = json.loads(capsys.readouterr().out)["fit"].split(" ")
    assert line[line.index("--missing") + 1] in ("?,-", "'?,-'")
    kinds = [line[i + 1] for i, word in enumerate(line) if word == "--kind"]
    assert kinds == ["kind=ignore", "cluster_given=ignore", "label=multiclass"]
    assert main(["name", out, "0=one", "1=one", "--overwrite"]) == 0
    told = capsys.readouterr()
    assert "two different names" in told.err
    assert "fit" not in told.out


def test_names_are_asked_for(groups, monkeypatch, capsys):
    answers = iter(["dog\n", "\n", "cat\n", ""])
    monkeypatch.setattr("sys.stdin", type("Typed", (), {"readline": lambda self: next(answers)})())
    assert main(["name", str(groups), "--interactive"]) == 0
    assert "cluster 1 (" in capsys.readouterr().err
    labels = manyhot.read(groups / "named.csv").cells("label")
    assert set(labels.values) == {"dog", "cat"}


def test_pictures_keep_their_paths_and_get_a_root(tmp_path, capsys):
    files = write_pictures(tmp_path / "data", 60)
    (tmp_path / "data" / files[7]).write_bytes(b"no picture")
    path = write_csv(tmp_path / "data" / "table.csv", {"image": files})
    words = ["cluster", str(path), "--out", str(tmp_path / "groups"), "--clusters", "2"]
    words += ["--epochs", "1", "--set", "threads=1"]
    assert main(words) == 0
    told = capsys.readouterr()
    assert f"left out: row 8, {files[7]}" in told.err
    assert "unreadable 1: their cluster is empty" in told.out
    rows = manyhot.read(tmp_path / "groups" / "clusters.csv")
    assert rows.column("image").to_pylist() == files
    assert rows.column("cluster").to_pylist()[7] is None
    assert rows.column("error").to_pylist()[7]
    assert main(["name", str(tmp_path / "groups"), "0=a", "1=b"]) == 0
    line = capsys.readouterr().out.strip()
    assert f"--root {tmp_path / 'data'}" in line
    named = manyhot.read(tmp_path / "groups" / "named.csv", root=tmp_path / "data")
    assert named.column("image").to_pylist() == files


def test_known_labels_are_spread_to_sure_neighbours():
    z, y = blobs(300, 3, seed=0)
    given = np.where(np.arange(300) % 20 == 0, y, -1)
    found = group.group(z, 3, seed=0)
    filled = spread(z, found, given)
    assert (filled[given >= 0] == given[given >= 0]).all()
    new = (given < 0) & (filled >= 0)
    assert new.sum() > 200
    assert (filled[new] == y[new]).mean() > 0.98
    assert not (new & found.outliers()).any()


def test_words_for_an_empty_cell_are_no_labels_to_spread():
    z, y = blobs(200, 3, seed=0)
    kind = [float(n) if i % 10 == 0 else None for i, n in enumerate(y)]
    kind[1] = -1.0
    found = manyhot.cluster(table_of(z, kind=kind), clusters=3, target="kind", spread=True, missing=("-1",))
    rows = found.spread_labels()
    assert set(rows.column("kind").to_pylist()) <= {"0", "1", "2", None}
    assert rows.column("kind_spread").to_pylist()[1] in ("yes", None)


def test_labels_that_disagree_are_not_spread():
    z, y = blobs(200, 2, seed=0)
    mixed = np.where(np.arange(200) % 4 == 0, np.arange(200) // 4 % 2, -1)  # both labels all over
    filled = spread(z, group.group(z, 2, seed=0), mixed)
    assert ((filled >= 0) & (mixed < 0)).mean() < 0.2
    assert len(np.unique(y)) == 2


def test_a_table_of_spread_labels_says_which_were(tmp_path, capsys):
    z, y = blobs(200, 3, seed=0)
    kind = [f"k{n}" if i % 10 == 0 else None for i, n in enumerate(y)]
    path = write_csv(tmp_path / "table.csv", table_of(z, kind=kind))
    words = ["cluster", str(path), "--out", str(tmp_path / "out"), "--clusters", "3"]
    assert main([*words, "--target", "kind", "--spread"]) == 0
    assert "--kind kind_spread=ignore" in capsys.readouterr().out
    table = manyhot.read(tmp_path / "out" / "spread.csv")
    marks, labels = table.column("kind_spread").to_pylist(), table.column("kind").to_pylist()
    for label, mark, before in zip(labels, marks, kind, strict=True):
        assert mark == ("no" if before else "yes" if label else None)
        assert before in (None, label)
    assert marks.count("yes") > 100
    scores = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert scores["spread"] == {"target": "kind", "rows": marks.count("yes")}

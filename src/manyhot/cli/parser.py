"""Which commands there are, and their options. No heavy import, so that `--help` is instant.

`docs/cli.md` is generated from what stands here.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from typing import NoReturn, TypeAlias

from manyhot.config import CHOICES
from manyhot.errors import suggest

# Named here, since data.datasets loads more than `--help` may wait for; a test compares the two.
DATASETS = ("stanford-cars", "mnist", "fashion-mnist", "kmnist", "cifar10", "cifar100", "corel5k")
EPILOG = "Start with `manyhot demo`, or with `manyhot inspect DATA` on a table of your own."


class Parser(argparse.ArgumentParser):
    """argparse, with a mistake told in one line that suggests the word that was meant."""

    def error(self, message: str) -> NoReturn:
        """Print one line on standard error and exit with status 2."""
        if message.startswith("unrecognized arguments: "):
            word = message.split(": ", 1)[1].split()[0]
            message = f"unknown option {word}{suggest(word.split('=')[0], self._words())}"
            command = next((name for name in sys.argv[1:] if name in self._choices()), "")
            print(f"manyhot: {message}. See `manyhot {command} --help`.".replace("  ", " "), file=sys.stderr)
            sys.exit(2)
        elif "invalid choice: " in message:
            given = message.split("invalid choice: ", 1)[1].split(" (", 1)[0].strip("'\"")
            message = message.replace("argument ", "", 1) + suggest(given, self._choices())
        print(f"manyhot: {message}. See `{self.prog} --help`.", file=sys.stderr)
        sys.exit(2)

    def _words(self) -> list[str]:
        return [word for action in self._all_actions() for word in action.option_strings]

    def _choices(self) -> list[str]:
        return [str(choice) for action in self._all_actions() for choice in action.choices or ()]

    def _all_actions(self) -> list[argparse.Action]:
        actions = list(self._actions)
        for action in self._actions:
            if isinstance(action, argparse._SubParsersAction):
                actions += [inner for parser in action.choices.values() for inner in parser._actions]
        return actions


def build_parser() -> Parser:
    """Return the parser of all commands."""
    from manyhot import __version__

    parser = Parser("manyhot", description="One classifier for every label structure.", epilog=EPILOG)
    parser.add_argument("--version", action="version", version=f"manyhot {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND", parser_class=Parser)
    _inspect(commands)
    _fit(commands)
    _evaluate(commands)
    _predict(commands)
    _cluster(commands)
    _name(commands)
    _report(commands)
    _tune(commands)
    _data(commands)
    _cache(commands)
    _demo(commands)
    return parser


Commands: TypeAlias = "argparse._SubParsersAction[Parser]"


def _command(commands: Commands, name: str, help: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(
        name, help=help, description=help, allow_abbrev=False
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document on standard output")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return parser


def _seed(text: str) -> int:
    """Read a seed; argparse makes the mistake a line."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"must be a whole number from 0 on, got '{text}'")
    return int(text)


def _reading(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("reading")
    group.add_argument(
        "--root", metavar="FOLDER", help="what image paths are relative to (default: the table)"
    )
    group.add_argument("--labels", metavar="FILE", help="a second table with labels, joined on path or row")
    group.add_argument(
        "--map",
        metavar="COLUMN=FILE",
        action="append",
        default=[],
        help="add what each class of COLUMN stands for, from a table: the class, then such as its tags",
    )


def _labelling(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("what to predict")
    add = group.add_argument
    add("--target", metavar="NAME", action="append", default=[], help="a label column; repeat it for several")
    add(
        "--tags",
        metavar="NAME[=a,b,c]",
        action="append",
        default=[],
        help="a column with any number of tags, or 0/1 columns a, b and c read as one",
    )
    add("--separator", metavar="S", help="what stands between tags (default: ; or |)")
    _columns(add, "binary, multiclass, multilabel, number, category, date, image or ignore")
    add("--schema", metavar="FILE", help="all of this from a file that `inspect --write-schema` wrote")


def _columns(add: Callable[..., object], kinds: str) -> None:
    """Add the options that say how columns are read."""
    add("--missing", metavar="WORDS", default="", help='words that mean an empty cell, such as "NA,?"')
    add("--image", metavar="COLUMN", help="the column of image paths, where it is not plain")
    help = f"read a column as {kinds}"
    add("--kind", metavar="COLUMN=KIND", action="append", default=[], help=help)


def _inspect(commands: Commands) -> None:
    parser = _command(commands, "inspect", "Show how a table is read: inputs, targets, examples, problems.")
    parser.add_argument("data", metavar="DATA", help="a table, a folder of class folders, or an IDX folder")
    _reading(parser)
    _labelling(parser)
    parser.add_argument("--group", metavar="COLUMN", help="rows to be kept together; not a feature")
    parser.add_argument("--write-schema", metavar="FILE", help="write what was found, for editing")
    parser.add_argument("--sheet", metavar="FILE", help="draw sample rows with their labels (PNG)")
    parser.add_argument(
        "--seed", metavar="N", type=_seed, default=0, help="which rows are sampled (default: %(default)s)"
    )


def _fit(commands: Commands) -> None:
    parser = _command(commands, "fit", "Train a classifier for every target of a table.")
    parser.add_argument("data", metavar="DATA", help="a table, a folder of class folders, or an IDX folder")
    parser.add_argument("--out", metavar="MODEL", required=True, help="the folder to write the model to")
    parser.add_argument("--overwrite", action="store_true", help="replace --out where it exists")
    parser.add_argument("--resume", action="store_true", help="go on where a stopped run was")
    _reading(parser)
    _labelling(parser)
    group = parser.add_argument_group("training (what is not given follows from the data)")
    add = group.add_argument
    add("--effort", choices=CHOICES["effort"], help="how long to try (default: balanced)")
    add("--epochs", metavar="N", help="how often to see every row, at most")
    add(
        "--backbone",
        metavar="NAME",
        help="mlp, tabm, linear, cnn, mnist-mlp, mnist-cnn, or any name of timm's",
    )
    add(
        "--weights",
        metavar="auto|none|PATH",
        help="what the backbone starts from: its own pretrained weights, nothing, or a safetensors file",
    )
    add(
        "--freeze",
        action="store_true",
        default=None,
        help="leave the backbone as it is, train the heads alone",
    )
    add("--size", metavar="PIXELS", help="the side that pictures are brought to")
    add(
        "--class-weight", choices=CHOICES["class_weight"], help="balanced lets rare classes count like others"
    )
    add(
        "--objective", metavar="AIM", help="hamming, exact_match, micro_f1, macro_f1, precision=P or recall=R"
    )
    add("--monitor", metavar="SCORE", help="what chooses the best epoch: loss, or such as species/macro_f1")
    add("--unknown-class", choices=("error", "missing"), help="what a class outside the schema is")
    add("--test", metavar="FRACTION", help="keep rows back for `evaluate`")
    add("--group", metavar="COLUMN", help="rows with an equal cell here stay in one part")
    add("--device", choices=CHOICES["device"], help="where to compute (default: auto)")
    add("--seed", metavar="N", help="the same seed gives the same weights (default: 0)")
    add("--config", metavar="FILE", help="settings from a JSON or TOML file, such as a model's config.json")
    add("--set", metavar="KEY=VALUE", action="append", default=[], help="any setting by its name")


def _evaluate(commands: Commands) -> None:
    parser = _command(commands, "evaluate", "Judge a model by rows whose labels are known.")
    parser.add_argument("model", metavar="MODEL", help="a folder that `fit` wrote")
    parser.add_argument("data", metavar="DATA", help="labelled rows, such as those that `fit` was given")
    _reading(parser)
    parser.add_argument(
        "--split", metavar="NAME", help="train, val, test or all (default: test where there is one)"
    )
    parser.add_argument(
        "--unknown-class",
        choices=("wrong", "missing"),
        default="wrong",
        help="what a class counts as that training never saw (default: %(default)s)",
    )


def _predict(commands: Commands) -> None:
    parser = _command(commands, "predict", "Answer for new rows: tables, folders or image files.")
    parser.add_argument("model", metavar="MODEL", help="a folder that `fit` wrote")
    parser.add_argument("inputs", metavar="INPUT", nargs="+", help="tables, folders or image files")
    _reading(parser)
    parser.add_argument(
        "--out", metavar="FILE", help="a .csv, .tsv, .jsonl or .parquet file (default: print CSV)"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace --out where it exists")
    parser.add_argument(
        "--resume", action="store_true", help="go on where it was stopped (from Parquet to Parquet)"
    )


def _clusters(text: str) -> int | None:
    """Read a number of clusters, None for "auto"; argparse makes the mistake a line."""
    if text == "auto":
        return None
    if not text.isdecimal() or int(text) < 2:
        raise argparse.ArgumentTypeError(f"must be a whole number from 2 on, or auto, got '{text}'")
    return int(text)


def _cluster(commands: Commands) -> None:
    parser = _command(commands, "cluster", "Find groups in rows without labels, to look at and to name.")
    parser.add_argument("data", metavar="DATA", help="a table, a folder of pictures, or an IDX folder")
    parser.add_argument("--out", metavar="DIR", required=True, help="the folder to write all to")
    parser.add_argument("--overwrite", action="store_true", help="replace --out where it exists")
    _reading(parser)
    group = parser.add_argument_group("what is grouped, and by what")
    add = group.add_argument
    add("--clusters", metavar="K|auto", type=_clusters, help="how many groups (default: auto)")
    add(
        "--features",
        metavar="MODEL|PATH|auto",
        default="auto",
        help="see rows by a model's backbone, or by weights for --backbone in a safetensors file",
    )
    add("--target", metavar="NAME", help="a column of known labels, to compare the groups with")
    add("--spread", action="store_true", help="give the known labels of --target to sure neighbours too")
    _columns(add, "number, category, date, image or ignore")
    group = parser.add_argument_group("learning (what is not given follows from the data)")
    add = group.add_argument
    add("--effort", choices=CHOICES["effort"], help="how long to try (default: balanced)")
    add("--epochs", metavar="N", help="how often to see every picture")
    add("--backbone", metavar="NAME", help="cnn, or any name of timm's that has weights")
    add("--size", metavar="PIXELS", help="the side that pictures are brought to")
    add("--device", choices=CHOICES["device"], help="where to compute (default: auto)")
    add("--seed", metavar="N", help="the same seed gives the same groups (default: 0)")
    add("--config", metavar="FILE", help="settings from a JSON or TOML file")
    add("--set", metavar="KEY=VALUE", action="append", default=[], help="any setting of fit by its name")


def _name(commands: Commands) -> None:
    parser = _command(commands, "name", "Give the groups that `cluster` found names, as labels for `fit`.")
    parser.add_argument("dir", metavar="DIR", help="a folder that `cluster` wrote")
    parser.add_argument(
        "names",
        metavar="N=NAME",
        nargs="*",
        help="what a cluster is, or several (7+9=bird); or a table with a line for each cluster",
    )
    parser.add_argument("--interactive", action="store_true", help="ask for each cluster in turn")
    parser.add_argument(
        "--label", metavar="COLUMN", default="label", help="what the column is called (default: %(default)s)"
    )
    parser.add_argument("--out", metavar="FILE", help="where to write (default: DIR/named.csv)")
    parser.add_argument("--overwrite", action="store_true", help="replace the file where it exists")


def _report(commands: Commands) -> None:
    parser = _command(commands, "report", "Write a page about a model: its data, its training, its mistakes.")
    parser.add_argument("model", metavar="MODEL", help="a folder that `fit` wrote")
    parser.add_argument("data", metavar="DATA", nargs="?", help="rows to judge (default: as fit saw it)")
    _reading(parser)
    parser.add_argument("--split", metavar="NAME", help="train, val, test or all")
    parser.add_argument(
        "--out", metavar="FILE", default="report.html", help="an HTML file (default: %(default)s)"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace --out where it exists")


def _tune(commands: Commands) -> None:
    parser = _command(commands, "tune", "Refit a model's thresholds to an objective, without training.")
    parser.add_argument("model", metavar="MODEL", help="a folder that `fit` wrote")
    parser.add_argument("data", metavar="DATA", help="labelled rows that training did not see")
    parser.add_argument("--objective", metavar="AIM", required=True, help="as for fit")
    _reading(parser)
    parser.add_argument(
        "--split", metavar="NAME", help="train, val, test or all (default: val where there is one)"
    )


def _data(commands: Commands) -> None:
    parser = _command(
        commands, "data", "Make a known data set ready for `fit`, from files you have or fetched."
    )
    parser.add_argument("name", metavar="NAME", choices=DATASETS, help=f"one of {', '.join(DATASETS)}")
    parser.add_argument("dir", metavar="DIR", help="the folder that holds its files, or is to hold them")
    parser.add_argument(
        "--brands",
        metavar="NAMES",
        help='of stanford-cars: the brands that are classes (default: "Audi,BMW,Chevrolet,Dodge,Ford")',
    )


def _cache(commands: Commands) -> None:
    parser = _command(commands, "cache", "Show where decoded pictures are kept, and how many.")
    parser.add_argument("--clear", action="store_true", help="remove them; the next run decodes anew")


def _demo(commands: Commands) -> None:
    parser = _command(commands, "demo", "Do the whole job once, on 1,797 handwritten digits.")
    parser.add_argument(
        "--out", metavar="DIR", default="manyhot-demo", help="a folder for all (default: %(default)s)"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace --out where it exists")
    parser.add_argument(
        "--seed",
        metavar="N",
        type=_seed,
        default=0,
        help="the same seed, the same run (default: %(default)s)",
    )

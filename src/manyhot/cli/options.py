"""The options that several commands share, each group with what is made of it: a Table, a Schema, settings.

The modules of `commands` call both. Nothing slow is imported above, so that `--help` is instant.
"""

from __future__ import annotations

import argparse
import tomllib
from collections.abc import Callable, Collection
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from manyhot import files
from manyhot.cli import show
from manyhot.config import APART, CHOICES, FitConfig, parse_options
from manyhot.errors import UserError
from manyhot.schema import Schema

if TYPE_CHECKING:
    from manyhot.data.table import Table


def seed(text: str) -> int:
    """Read a seed; argparse makes the mistake a line."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"must be a whole number from 0 on, got '{text}'")
    return int(text)


def count(text: str) -> int:
    """Read a number from 1 on; argparse makes the mistake a line."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number from 1 on, got '{text}'")
    return int(text)


def add_reading(parser: argparse.ArgumentParser) -> None:
    """Add the options that say how DATA is read."""
    add = parser.add_argument_group("reading").add_argument
    add(
        "--root", metavar="FOLDER", help="what image paths are relative to (default: the folder of the table)"
    )
    help = "whether the first row names the columns, or nothing does (default: found out)"
    add("--header", metavar="first|none", help=help)
    add("--sheet-name", metavar="NAME", help="the sheet of a workbook (default: the only one that has rows)")
    add("--labels", metavar="FILE", help="a second table with labels, joined on path or row")
    help = "a table with a row for each class of COLUMN: the class, then what it stands for, such as tags"
    add("--map", metavar="COLUMN=FILE", action="append", default=[], help=help)


def read_table(args: argparse.Namespace, data: str, memory: float | None = None) -> Table:
    """Read DATA as the options of `add_reading` say."""
    from manyhot.data import disk
    from manyhot.data.sources.read import read
    from manyhot.progress import Lines

    with Lines() as told:
        table = read(data, labels=args.labels, memory=memory, tell=told.on_step, **reading(args))
    if table.on_disk:
        show.notes([disk.told(data, memory)])
    return table


def reading(args: argparse.Namespace) -> dict[str, Any]:
    """Return how any table is read, as keywords of `read`: all that `add_reading` says but --labels."""
    maps = dict(_pair("--map", text, "COLUMN=FILE") for text in args.map)
    return {"root": args.root, "maps": maps, "header": args.header, "sheet": args.sheet_name}


def reading_words(args: argparse.Namespace, without: Collection[str] = ()) -> list[str]:
    """Return the words with which another command reads the same table, `without` some of the options."""
    given = [("--root", args.root), ("--header", args.header), ("--sheet-name", args.sheet_name)]
    given += [("--labels", args.labels), *(("--map", text) for text in args.map)]
    return [word for option in given if option[1] and option[0] not in without for word in option]


def add_labelling(parser: argparse.ArgumentParser) -> None:
    """Add the options that say what to predict, and from what."""
    add = parser.add_argument_group("what to predict").add_argument
    add("--target", metavar="NAME", action="append", default=[], help="a label column; repeat it for several")
    help = (
        "a column with any number of tags, or 0/1 columns a, b and c read as one; first:last and has_* name "
        "several columns, here, in --target and in --kind"
    )
    add("--tags", metavar="NAME[=a,b,c]", action="append", default=[], help=help)
    help = "what stands between tags (default: ; or |, with --tags also , # or a blank)"
    add("--separator", metavar="S", help=help)
    help = 'words, or 0/1 columns, that mean no tags, such as "(none),No Finding"'
    add("--none", metavar="WORDS", default="", help=help)
    help = "part the numbers of a target into N ranges of about equally many rows: its classes"
    add("--bins", metavar="NAME=N", action="append", default=[], help=help)
    add_positive(add)
    add_long(add)
    add_columns(add, "binary, multiclass, multilabel, number, category, date, text, image or ignore")
    help = "the decimal mark, where cells such as 1,234 leave it open (default: that of the other columns)"
    add("--decimal", choices=(".", ","), metavar=".|,", help=help)
    add("--schema", metavar="FILE", help="a file that says all of this, as `inspect --write-schema` wrote it")


def schema_of(args: argparse.Namespace, table: Table) -> Schema:
    """Make the schema of what `add_labelling`, --group and --weight say; of --schema or --from it is read."""
    from manyhot.targets import with_positive

    all_of = ("target", "tags", "kind", "image", "separator", "none", "decimal", "bins")
    model = getattr(args, "start", None)
    if model:
        clash = [flag for flag in ("schema", *all_of, "missing") if getattr(args, flag)]
        if clash:
            raise UserError(f"--from {model} says all of what --{clash[0]} says; leave one out.")
        from manyhot.bundle import read_schema

        return read_schema(Path(model))
    if args.schema:
        clash = [flag for flag in all_of if getattr(args, flag)]
        if clash:
            raise UserError(f"--schema says all of what --{clash[0]} says; edit the file, or leave one out.")
        schema = Schema.from_json(files.read_json(Path(args.schema)))
        for name in [c for target in schema.targets for c in target.columns]:
            table.column(name)
        return with_positive(schema, positive_of(args, schema))
    from manyhot.data.columns import several
    from manyhot.data.rows.infer import infer

    tags: dict[str, tuple[str, ...] | None] = {}
    for text in args.tags:
        name, equals, columns = text.partition("=")
        if text in table.columns:  # a column may have '=' in its name
            name, equals = text, ""
        tags[name] = tuple(several(table, _words(columns))) if equals else None
    schema = infer(
        table,
        several(table, args.target),
        tags=tags,
        image=args.image,
        separator=args.separator,
        missing=missing_of(args),
        kinds=kinds_of(args, table),
        ignore=_apart(args),
        none=_words(args.none),
        decimal=args.decimal,
        bins=dict(map(_bins, args.bins)),
    )
    return with_positive(schema, positive_of(args, schema))


def add_positive(add: Callable[..., object]) -> None:
    """Add the option that says which class is meant by yes."""
    help = (
        "the class that is meant by yes, which precision and recall are of (default: a word for yes, else "
        "the rarer of two)"
    )
    add("--positive", metavar="NAME=CLASS", action="append", default=[], help=help)


def positive_of(args: argparse.Namespace, schema: Schema) -> dict[str, str]:
    """Return what --positive says of each target; names and classes may have '=' in them."""
    found = {}
    for text in args.positive:
        fitting = [target.name for target in schema.targets if text.startswith(f"{target.name}=")]
        name = max(fitting, key=len, default="") or _pair("--positive", text, "NAME=CLASS")[0]
        found[name] = text[len(name) + 1 :]
    return found


def add_long(add: Callable[..., object]) -> None:
    """Add the option that gathers the rows of one picture."""
    add("--long", action="store_true", help="DATA has a row for each label: rows of equal inputs become one")


def labelled(args: argparse.Namespace, table: Table) -> tuple[Table, Schema]:
    """Return the table, its rows gathered where --long asks for it, and its schema."""
    schema = schema_of(args, table)
    if not args.long:
        return table, schema
    from manyhot.data.rows.kinds import SEPARATORS
    from manyhot.data.rows.long import gather

    usual = () if args.schema else SEPARATORS  # a cell has one label, which may have blanks and commas
    table = gather(table, schema, (args.separator,) if args.separator else usual)
    return table, schema_of(args, table)


def add_columns(add: Callable[..., object], kinds: str) -> None:
    """Add the options that say how columns are read."""
    add("--missing", metavar="WORDS", default="", help='words that mean an empty cell, such as "NA,?"')
    add("--image", metavar="COLUMN", help="the column of image paths, where it is not found out")
    help = f"read a column as {kinds}"
    add("--kind", metavar="COLUMN=KIND", action="append", default=[], help=help)


def missing_of(args: argparse.Namespace) -> tuple[str, ...]:
    """Return the words that mean an empty cell."""
    return _words(args.missing)


def kinds_of(args: argparse.Namespace, table: Table) -> dict[str, str]:
    """Return what --kind says of each column."""
    from manyhot.data.columns import several

    said = [_pair("--kind", text, "COLUMN=KIND") for text in args.kind]
    made = {name for name, equals, _ in (text.partition("=") for text in getattr(args, "tags", ())) if equals}
    each = [(([words] if words in made else several(table, [words])), kind) for words, kind in said]
    return {name: kind for names, kind in each for name in names}


def _bins(text: str) -> tuple[str, int]:
    """Read what --bins says of one target."""
    name, number = _pair("--bins", text, "NAME=N")
    if not number.isdecimal():
        raise UserError(f"--bins {text}: must be NAME=N, such as {name}=5.")
    return name, int(number)


def set_apart(args: argparse.Namespace, table: Table) -> set[str]:
    """Name the columns that the options keep from being used."""
    return {name for name, kind in kinds_of(args, table).items() if kind == "ignore"} | {*_apart(args)}


def _apart(args: argparse.Namespace) -> list[str]:
    """Name the columns of the options that say what a row is to others, and are no inputs."""
    return [name for setting in APART if (name := getattr(args, setting, None))]


def add_training(parser: argparse.ArgumentParser) -> None:
    """Add the options that are settings of `fit`."""
    add = parser.add_argument_group("training (what is not given follows from the data)").add_argument
    add("--effort", choices=CHOICES["effort"], help="how long to try (default: balanced)")
    add("--epochs", metavar="N", help="how often to see every row, at most")
    help = "mlp, tabm, linear, cnn, resnet9, or any name of timm's"
    add("--backbone", metavar="NAME", help=help)
    help = "what the backbone starts from: its own pretrained weights, nothing, or a safetensors file"
    add("--weights", metavar="auto|none|PATH", help=help)
    help = "train only the last layers (the heads), on the features of pretrained weights"
    add("--freeze", action="store_true", default=None, help=help)
    help = (
        "what may answer, with commas between: network, pretrained, neighbours, forest, boosted, linear "
        "(default: all)"
    )
    add("--members", metavar="NAMES", help=help)
    add(
        "--size", metavar="PIXELS", help="the side that pictures are brought to, before the network sees them"
    )
    help = "balanced: rare classes count as much as frequent ones, and are answered more (default: none)"
    add("--class-weight", choices=CHOICES["class_weight"], help=help)
    help = (
        "hamming, exact_match, micro_f1, macro_f1, balanced_accuracy, precision=P or recall=R of each class "
        "or tag, micro_precision=P of all tags together"
    )
    add("--objective", metavar="AIM", help=help)
    add_promises(add)
    add("--monitor", metavar="SCORE", help="the score that chooses the best epoch: loss, or TARGET/METRIC")
    add(
        "--unknown-class",
        choices=CHOICES["unknown_class"],
        help="what a class that --schema lacks is: an error (default), or an unknown label",
    )
    add("--test", metavar="FRACTION", help="a share of the rows to keep back for `evaluate`, such as 0.2")
    add(
        "--group",
        metavar="COLUMN",
        help="rows with the same value here stay together: all train, or all are held out",
    )
    help = (
        "the last rows by this column of dates or numbers are the test rows, a share of --test (default: 0.2)"
    )
    add("--split-by", metavar="COLUMN", help=help)
    help = "rows are in time, by --split-by or as they stand: hold out stretches of it, not rows at random"
    add("--time-series", action="store_true", default=None, help=help)
    add("--weight", metavar="COLUMN", help="how much each row counts; one of weight 0 is left out")
    add("--device", choices=CHOICES["device"], help="where to compute (default: auto)")
    help = "the same seed gives the same weights, on a card with --set deterministic=yes (default: 0)"
    add("--seed", metavar="N", help=help)
    add("--config", metavar="FILE", help="settings from a JSON or TOML file, such as a model's config.json")
    add("--set", metavar="KEY=VALUE", action="append", default=[], help="any setting by its name")


def settings_of(args: argparse.Namespace) -> dict[str, Any]:
    """Gather the settings of `fit`: a file first, then the options that are named as one, then --set."""
    names = {field.name for field in fields(FitConfig)}
    found = _config_file(Path(args.config)) if args.config else {}
    found |= {name: value for name, value in vars(args).items() if name in names and value is not None}
    return parse_options(found | dict(_pair("--set", text, "KEY=VALUE") for text in args.set))


def _config_file(path: Path) -> dict[str, Any]:
    is_toml = path.suffix.lower() == ".toml"
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8")) if is_toml else files.read_json(path)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not TOML ({error}).") from None
    if not isinstance(found, dict):
        raise UserError(f"{path}: must hold settings by name.")
    return found


def _words(text: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in text.split(",") if word.strip())


def _pair(option: str, text: str, form: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise UserError(f"{option} {text}: must be {form}.")
    return name, value


def add_promises(add: Callable[..., Any]) -> None:
    """Add what says how sure an aim is to hold, and whether what stays possible is told."""
    help = (
        "with which a precision or a recall holds for new rows, where there are rows enough to promise it "
        "(default: 0.9); 0 takes the best threshold"
    )
    add("--confidence", metavar="SHARE", help=help)
    help = (
        "tell for each row which classes stay possible, so that the right one is among them in this share of "
        "new rows, such as 0.95"
    )
    add("--coverage", metavar="SHARE", help=help)


def promises_of(args: argparse.Namespace) -> dict[str, Any]:
    """Return what --confidence and --coverage say, as far as they are given."""
    found: dict[str, float] = {}
    for name in ("confidence", "coverage"):
        text = getattr(args, name)
        try:
            found |= {} if text is None else {name: float(text)}
        except ValueError:
            raise UserError(f"--{name} must be a number such as 0.9, got '{text}'.") from None
    return found

"""One function per command: the parsed options come in, the Python API is called, `show` prints.

What a command does is done by the library; here options are only put into its words.
"""

from __future__ import annotations

import argparse
import os
import shlex
import sys
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from manyhot import files
from manyhot.cli import show
from manyhot.data.inputs.images.paths import Progress, named
from manyhot.data.rows.infer import describe, infer, look
from manyhot.data.sources.read import read
from manyhot.data.sources.write import check_ending, write, write_to
from manyhot.data.table import PIXELS, Table
from manyhot.errors import UserError, suggest
from manyhot.schema import Schema

FLAGS = (  # of `fit`, each a setting of the same name
    *("effort", "epochs", "backbone", "weights", "freeze", "size", "class_weight", "objective", "monitor"),
    *("unknown_class", "test", "group", "device", "seed"),
)
MOST_NAMED = 10  # pictures that cannot be read


def inspect(args: argparse.Namespace) -> None:
    """Show how a table is read."""
    table = _read(args, args.data)
    if not (args.target or args.tags or args.schema or table.targets):
        if args.write_schema or args.sheet:
            raise UserError("name what to predict first: --target NAME or --tags NAME.")
        found = look(table)
        _open_pictures(table, found, show.reading_bar(args.json))
        show.document(found) if args.json else show.description(found)
        return
    schema = _schema(args, table)
    found = describe(table, schema, _apart(args))
    _open_pictures(table, found, show.reading_bar(args.json))
    if args.write_schema:
        files.write_json(Path(args.write_schema), schema.to_json())
    if args.sheet:
        _sheet(table, schema, Path(args.sheet), args.seed)
    if args.json:
        show.document(found | {"schema": schema.to_json()})
    else:
        show.description(found)
        for what, path in (("schema", args.write_schema), ("sample rows", args.sheet)):
            if path:
                show.say(f"wrote the {what} to {path}")


def _open_pictures(table: Table, found: dict[str, Any], progress: Progress) -> None:
    """Add to a description which pictures cannot be read, where the table has paths of pictures."""
    for column in found["inputs"]:
        if column["kind"] == "image" and column["name"] != PIXELS:
            from manyhot.data.inputs.images.opening import unreadable  # Pillow is not needed for tables

            reasons, opened = unreadable(table, column["name"], progress)
            names = named(table, column["name"], reasons)
            column["opened"], column["unreadable"] = opened, names
            if opened < len(table):
                found["problems"] += [f"of {len(table)} pictures an even sample of {opened} was opened"]
            if names:
                found["problems"] += [f"{len(names)} of {opened} pictures cannot be read"]
            told = [f"cannot be read: {name}: {reason}" for name, reason in names.items()]
            found["problems"] += told[:MOST_NAMED]
            if len(told) > MOST_NAMED:
                found["problems"] += [f"and {len(told) - MOST_NAMED} more, which --json names"]


def fit(args: argparse.Namespace) -> None:
    """Train a classifier and say what to do with it."""
    options = _options(args)
    args.group = options.get("group")  # --config and --set may name it too
    if not args.resume:
        files.check_out(Path(args.out), args.overwrite)
    table = _read(args, args.data)
    schema = _schema(args, table)
    from manyhot.classifier import fit as train  # torch is loaded here, after all cheap mistakes are found

    if not args.json:
        show.description(describe(table, schema, _apart(args)), stderr=True)
    with show.Training() as training:
        classifier = train(
            table,
            schema,
            out=args.out,
            resume=args.resume,
            overwrite=args.overwrite,
            begin=training.begin,
            on_event=training.tell,
            progress=training.reading,
            **options,
        )
    if classifier.run is None:
        show.say(f"{args.out}: training is finished already")
    run = classifier.run
    if args.json:
        config = classifier.bundle.config.to_json()
        judged = run.judged.scores if run else files.read_json(Path(args.out) / "metrics.json")
        epochs = run.history[-1]["epoch"] if run else None
        rows = run.counts if run else None
        show.document(
            {"model": args.out, "rows": rows, "epochs": epochs, "validation": judged, "config": config}
        )
    elif run is not None:
        for note in run.notes[:MOST_NAMED]:
            show.say(f"note: {note}")
        show.scores(run.judged.scores, "rows held back to choose the best epoch and to calibrate")
        _say_next(args)


def _say_next(args: argparse.Namespace) -> None:
    """Print the commands that judge and use the model, with the options that read the same table."""
    options = ["--root", args.root] if args.root else []
    options += ["--labels", args.labels] if args.labels else []
    options += [word for text in args.map for word in ("--map", text)]
    words = [args.out, args.data, *options]
    print(f"\nmodel written to {args.out}; look at {args.out}/report.html, then:")
    print(f"  manyhot evaluate {shlex.join(words)}")
    print(f"  manyhot predict {shlex.join(words)} --out answers.csv")


def evaluate(args: argparse.Namespace) -> None:
    """Judge a model."""
    from manyhot.classifier import load

    judged = load(args.model).judge(
        _read(args, args.data), args.split, args.unknown_class, show.reading_bar(args.json)
    )
    if args.json:
        show.document(judged.scores)
    else:
        show.scores(judged.scores, f"{args.data}, split {judged.split}")


def predict(args: argparse.Namespace) -> None:
    """Answer for new rows."""
    from manyhot.classifier import load

    if args.out:
        check_ending(Path(args.out))
        files.check_out(Path(args.out), args.overwrite or args.resume)
    in_pieces = _in_pieces(args)
    if args.resume and not in_pieces:
        raise UserError("--resume is for one Parquet file answered into another, without --labels and --map.")
    classifier = load(args.model)
    if in_pieces and not classifier.schema.is_image:
        told = show.reading_bar(args.json, "answered")
        done = classifier.answer_file(
            args.inputs[0], args.out, resume=args.resume, overwrite=args.overwrite, progress=told
        )
        _say_written(args, done)
        return
    answers = classifier.answers(_inputs(args, classifier.schema), show.reading_bar(args.json))
    if _are_pictures(args.inputs):
        answers = answers.with_columns({"image": args.inputs})  # as they were typed
    if "error" in answers.columns:
        wrong = [reason for reason in answers.column("error").to_pylist() if reason]
        show.say(f"{len(wrong)} of {len(answers)} rows cannot be read and are left empty; see column 'error'")
    if args.out:
        write(answers, Path(args.out))
        _say_written(args, len(answers))
    elif args.json:
        columns = {name: column.to_pylist() for name, column in answers.columns.items()}
        rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
        show.document({"rows": rows})
    else:
        write_to(answers, sys.stdout.buffer)


def resumes(args: argparse.Namespace) -> bool:
    """Tell whether a command goes on with --resume where it was stopped."""
    return args.command == "fit" or (args.command == "predict" and _in_pieces(args))


def _in_pieces(args: argparse.Namespace) -> bool:
    """Tell whether one file is answered into another without ever being held whole."""
    alone = len(args.inputs) == 1 and not (args.labels or args.map)
    names = [Path(args.inputs[0]), Path(args.out or "")]
    return alone and all(name.suffix.lower() == ".parquet" for name in names) and names[0].is_file()


def _say_written(args: argparse.Namespace, rows: int) -> None:
    if args.json:
        show.document({"rows": rows, "out": args.out})
    else:
        show.say(f"wrote {rows:,} rows to {args.out}")


def cluster(args: argparse.Namespace) -> None:
    """Find groups, and say what to do with them."""
    options = _options(args)
    files.check_out(Path(args.out), args.overwrite)
    if args.spread and not args.target:
        raise UserError("--spread takes the labels of --target NAME; name the column.")
    table = _read(args, args.data)
    from manyhot.bundle import MARKS  # torch is loaded here, after all cheap mistakes are found
    from manyhot.clustering.cluster import cluster as find
    from manyhot.clustering.names import fit_words

    files.check_ours(Path(args.out), MARKS)

    found = find(
        table,
        clusters=args.clusters,
        features=None if args.features == "auto" else args.features,
        target=args.target,
        image=args.image,
        missing=tuple(word for word in args.missing.split(",") if word),
        kinds=dict(_pair("--kind", text, "COLUMN=KIND") for text in args.kind),
        spread=args.spread,
        source=args.data,
        progress=show.reading_bar(args.json),
        on_event=show.work(quiet=args.json),
        **options,
    )
    if not args.json:
        show.say("drawing the map")
    found.save(args.out, args.overwrite)
    if args.json:
        show.document({"out": args.out, **found.scores})
        return
    for note in found.notes[:MOST_NAMED]:
        show.say(f"note: {note}")
    show.clusters(found.scores, args.data)
    print(f"\nwritten to {args.out}; look at {args.out}/clusters.html, then name what you see there:")
    print(f"  manyhot name {shlex.join([args.out])} 0=NAME 1=NAME")
    if args.spread:
        spread = Path(args.out, "spread.csv")
        model = Path(f"{Path(args.out)}-model")
        words = fit_words(found.scores, spread, args.target, model, ignored=[f"{args.target}_spread"])
        print(f"\nthe spread labels are in {spread}; train on them with:\n  manyhot {shlex.join(words)}")


def name(args: argparse.Namespace) -> None:
    """Write a table with the names of clusters as labels, and the line that trains on it."""
    from manyhot.clustering import names

    folder = Path(args.dir)
    out = Path(args.out) if args.out else folder / "named.csv"
    found = names.read_names(folder)
    files.check_out(out, args.overwrite)
    check_ending(out)
    given = names.parse(args.names, found)
    if args.interactive:
        given |= show.ask(found.sizes, given)
    named = names.label(found, given, args.label)
    write(named, out)
    words = names.fit_words(found.metrics, out, args.label, Path(f"{folder}-model"), given.values())
    rows = len(named) - named.column(args.label).null_count
    line = f"manyhot {shlex.join(words)}" if len(set(given.values())) > 1 else None
    if args.json:
        show.document({"out": str(out), "rows": len(named), "named": rows, "fit": line})
        return
    then = "train on them with:" if line else "give two different names at least, then train on them"
    show.say(f"wrote {out}: {rows:,} of {len(named):,} rows have a name; {then}")
    if line:
        print(f"  {line}")


def report(args: argparse.Namespace) -> None:
    """Write the page about a model."""
    from manyhot import bundle
    from manyhot.classifier import load
    from manyhot.report.card import report_of

    out = Path(args.out)
    files.check_out(out, args.overwrite)
    if args.data is None:
        bundle.check(Path(args.model))
        page = Path(args.model, "report.html")
        if not page.is_file():
            raise UserError(
                f"{args.model} has no report of its own; name rows to judge: manyhot report MODEL DATA"
            )
        files.write_bytes(out, page.read_bytes())
    else:
        classifier = load(args.model)
        judged = classifier.judge(_read(args, args.data), args.split, progress=show.reading_bar(args.json))
        history = Path(args.model, "history.jsonl")
        lines = files.read_json_lines(history) if history.is_file() else []
        files.write_text(
            out,
            report_of(
                classifier.bundle, judged, args.data, lines, notes=classifier.bundle.predictor.ensemble.notes
            ),
        )
    if args.json:
        show.document({"out": args.out})
    else:
        show.say(f"wrote {args.out}")


def tune(args: argparse.Namespace) -> None:
    """Refit the thresholds of a model."""
    from manyhot.classifier import load

    classifier = load(args.model).tune(_read(args, args.data), args.objective, args.split)
    classifier.update(args.model)
    found = {t.name: list(t.decision.thresholds) for t in classifier.schema.targets}
    if args.json:
        show.document({"objective": args.objective, "thresholds": found})
    else:
        show.say(f"{args.model} now aims at {args.objective}; its probabilities are as before")
        for target in classifier.schema.targets:
            if target.decision.thresholds and not (target.exclusive and len(target.classes) > 2):
                names = target.classes[-len(target.decision.thresholds) :]
                cuts = ", ".join(
                    f"{n} {cut:.3f}" for n, cut in zip(names, target.decision.thresholds, strict=True)
                )
                show.say(f"  {target.name}: yes from {cuts}")


def data(args: argparse.Namespace) -> None:
    """Make a known data set ready."""
    from manyhot.data.sources.datasets import (
        prepare,  # it reads archives and pictures, which others do without
    )

    brands = None
    if args.brands is not None:
        brands = [brand.strip() for brand in args.brands.split(",") if brand.strip()]
        if args.name != "stanford-cars" or not brands:
            raise UserError('--brands names the classes of stanford-cars, such as --brands "Audi,BMW".')
    found = prepare(args.name, Path(args.dir), brands, show.work())
    for note in found.table.notes:
        show.say(f"note: {note}")
    words = [str(found.path), *found.options, "--out", f"{args.name}-model"]
    line = f"manyhot fit {shlex.join(words)}"
    rows, columns = len(found.table), list(found.table.names)
    if args.json:
        document = {"name": args.name, "out": str(found.path), "rows": rows, "columns": columns, "fit": line}
        show.document(document)
    else:
        print(f"{found.path}: {rows:,} rows with {', '.join(columns)}; train on them with:")
        print(f"  {line}")


def cache(args: argparse.Namespace) -> None:
    """Show how much the cache of decoded pictures takes, or empty it."""
    from manyhot.data.inputs.images import cache as kept

    if args.clear:
        kept.clear()
    found = kept.usage()
    if args.json:
        show.document(found)
    else:
        print(f"{found['folder']}: {found['pictures']:,} decoded pictures, {found['bytes'] / 1e6:,.1f} MB")


def demo(args: argparse.Namespace) -> None:
    """Do the whole job once."""
    from manyhot.cli.demo import run

    run(Path(args.out), args.overwrite, args.seed, args.json)


def _read(args: argparse.Namespace, data: str) -> Table:
    """Read DATA with the options that all commands share."""
    return read(data, root=args.root, labels=args.labels, maps=_maps(args))


def _maps(args: argparse.Namespace) -> dict[str, str]:
    return dict(_pair("--map", text, "COLUMN=FILE") for text in args.map)


def _schema(args: argparse.Namespace, table: Table) -> Schema:
    """Make the schema of the options, or read it from --schema."""
    missing = tuple(word for word in args.missing.split(",") if word)
    if args.schema:
        clash = [flag for flag in ("target", "tags", "kind", "image", "separator") if getattr(args, flag)]
        if clash:
            raise UserError(f"--schema says all of what --{clash[0]} says; edit the file, or leave one out.")
        schema = Schema.from_json(files.read_json(Path(args.schema)))
        for name in [c for target in schema.targets for c in target.columns]:
            table.column(name)
        return schema
    tags: dict[str, tuple[str, ...] | None] = {}
    for text in args.tags:
        name, equals, columns = text.partition("=")
        if text in table.columns:  # a column may have '=' in its name
            name, equals = text, ""
        tags[name] = tuple(part.strip() for part in columns.split(",") if part.strip()) if equals else None
    group = getattr(args, "group", None)
    if group:
        table.column(group)
    return infer(
        table,
        args.target,
        tags=tags,
        image=args.image,
        separator=args.separator,
        missing=missing,
        kinds=_kinds(args),
        ignore=[group] if group else [],
    )


def _kinds(args: argparse.Namespace) -> dict[str, str]:
    """Return what --kind says of each column."""
    return dict(_pair("--kind", text, "COLUMN=KIND") for text in args.kind)


def _apart(args: argparse.Namespace) -> set[str]:
    """Name the columns that the options keep from being used."""
    ignored = {name for name, kind in _kinds(args).items() if kind == "ignore"}
    return ignored | {getattr(args, "group", None) or ""}


def _options(args: argparse.Namespace) -> dict[str, Any]:
    """Gather the settings: a file first, then flags, then --set."""
    options: dict[str, Any] = {}
    if args.config:
        options |= _config_file(Path(args.config))
    options |= {name: getattr(args, name) for name in FLAGS if getattr(args, name, None) is not None}
    options |= dict(_pair("--set", text, "KEY=VALUE") for text in args.set)
    from manyhot.config import parse_options

    return parse_options(options)


def _config_file(path: Path) -> Mapping[str, Any]:
    if path.suffix.lower() != ".toml":
        found = files.read_json(path)
    else:
        try:
            found = tomllib.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise UserError(f"{path}: no such file.") from None
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise UserError(f"{path}: not TOML ({error}).") from None
    if not isinstance(found, dict):
        raise UserError(f"{path}: must hold settings by name.")
    return found


def _pair(option: str, text: str, form: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise UserError(f"{option} {text}: must be {form}.")
    return name, value


def _inputs(args: argparse.Namespace, schema: Schema) -> Table:
    """Make one table of all INPUTs: image files together, or a single table or folder."""
    if not _are_pictures(args.inputs):
        if len(args.inputs) > 1:
            raise UserError("INPUT must be one table or folder, or any number of image files.")
        return _read(args, args.inputs[0])
    if not schema.is_image:
        raise UserError("the model reads features, not pictures; INPUT must be a table.")
    missing = [name for name in args.inputs if not Path(name).exists()]
    if missing:
        folder = Path(missing[0]).parent
        near = suggest(Path(missing[0]).name, [p.name for p in folder.glob("*")] if folder.is_dir() else [])
        raise UserError(f"{missing[0]}: no such file{near}.")
    root = (
        Path(args.root)
        if args.root
        else Path(
            os.path.commonpath([Path(os.path.normpath(Path(name).absolute())).parent for name in args.inputs])
        )
    )
    return Table({}, "INPUT", root=root, rows=np.arange(1, len(args.inputs) + 1)).with_columns(
        {"image": [os.path.relpath(name, root) for name in args.inputs]}
    )


def _are_pictures(names: Sequence[str]) -> bool:
    from manyhot.data.columns import is_image_name

    return all(is_image_name(name) for name in names)


def _sheet(table: Table, schema: Schema, path: Path, seed: int, count: int = 40) -> None:
    """Draw sample rows with their labels."""
    if not schema.is_image:
        raise UserError("--sheet draws pictures, and this table has none.")
    from manyhot.data.inputs.images.opening import picture
    from manyhot.report.sheet import contact_sheet
    from manyhot.targets import decode
    from manyhot.train.prepare import labels

    rows = np.sort(np.random.default_rng(seed).permutation(len(table))[:count])
    sample = table.take(rows)
    y = labels(sample, schema, "missing")
    captions = [decode(target, y[target.name]) for target in schema.targets]
    pictures = [(picture(sample, schema, row), row) for row in range(len(sample))]
    shown = [(image, row) for image, row in pictures if image is not None]
    texts = [" · ".join(names[row] or "?" for names in captions) for _, row in shown]
    files.write_bytes(path, contact_sheet([image for image, _ in shown], texts))

"""What answers, declared: which members, what each reads, how much each counts. JSON and nothing else.

`train.select` chooses an Ensemble, `bundle` writes it as predictor.json, `model.predictor` builds it. An
encoder turns a row into features; a member turns these into logits of every target; the answer is the
weighted mean of the members' logits.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from manyhot.errors import UserError, listed

MemberKind = Literal["heads", "neighbours", "forest", "boosted"]
Pooled = Literal["logits", "probabilities"]
# Encoders: the network as trained, what it was before it was tuned, and a table's columns as prepared.
NETWORK, PRETRAINED, COLUMNS = "network", "pretrained", "columns"
# What `members` of the settings may name: who may take part.
CANDIDATES = (NETWORK, PRETRAINED, "neighbours", "forest", "boosted", "linear")
FAR = "\0far"  # stands beside the targets in what a predictor gives; no target is called so
SOME = 4  # targets whose members a note names
SEVERAL_ENCODERS = (
    "answers are averaged over two networks, the fine-tuned one and the pretrained one with heads of its own "
    "(better on held-out photos). Predicting therefore takes twice the time."
)
HOLDS_ROWS = (
    "answers are blended with those of the {rows:,} training photos that look most alike (better on held-out "
    "photos). The model therefore holds their features and labels; --members network leaves them out."
)


@dataclass(frozen=True)
class Member:
    """One that answers.

    kind     linear heads, the k nearest neighbours among the training rows (all, weighed), or a forest
    encoder  whose features it reads; linear heads that read the columns are logistic regression
    weights  target → what its logits are multiplied by before those of all members are added up
    rows     (neighbours) how many training rows it holds
    """

    kind: MemberKind
    encoder: str
    weights: Mapping[str, float]
    rows: int = 0

    @property
    def name(self) -> str:
        """What people call it."""
        if self.kind != "heads":
            return {"boosted": "boosted trees"}.get(self.kind, self.kind)
        return "logistic regression" if self.encoder == COLUMNS else self.encoder


@dataclass(frozen=True)
class Ensemble:
    """The members of a predictor, and in how many views a picture is seen (test-time augmentation).

    pooled  what is the mean of all views: their logits, or as in earlier models their probabilities. Of views
            that a network tells apart badly, as those of small pictures, the latter are far too unsure.
            Source: Rahaman and Thiery 2021, "Uncertainty Quantification and Deep Ensembles".
    far     whether it tells too how far a row is from those of training
    """

    members: tuple[Member, ...]
    views: int = 1
    mirrored: bool = False
    pooled: Pooled = "logits"
    far: bool = False

    @property
    def encoders(self) -> tuple[str, ...]:
        """The names of the encoders, each once."""
        return tuple(dict.fromkeys(member.encoder for member in self.members))

    @property
    def notes(self) -> list[str]:
        """What is worth knowing of it, for people."""
        rows = max(member.rows for member in self.members)
        found = [SEVERAL_ENCODERS] if PRETRAINED in self.encoders else []
        found += [HOLDS_ROWS.format(rows=rows)] if rows else []
        if COLUMNS not in self.encoders:
            return found
        shares = [", ".join(self._shares(name)) for name in self.members[0].weights]
        told = [f"'{n}' {share}" for n, share in zip(self.members[0].weights, shares, strict=True)]
        return [
            *found,
            f"what answers, by weights chosen on held-out rows: {'; '.join(told[:SOME])}.",
        ]

    def _shares(self, target: str) -> list[str]:
        """Name the members that answer for a target, each with its share of the weights."""
        whole = sum(member.weights[target] for member in self.members) or 1.0
        named = [(member.weights[target] / whole, member.name) for member in self.members]
        return [f"{name} {share:.0%}" for share, name in named if share]

    def to_json(self) -> dict[str, Any]:
        """Return plain dicts and lists that `from_json` reads back unchanged."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: object) -> Ensemble:
        """Read what `to_json` gave. Raises UserError when it is something else."""
        try:
            assert isinstance(data, dict)
            members = tuple(
                Member(**{**member, "weights": {name: float(w) for name, w in member["weights"].items()}})
                for member in data["members"]
            )
            strange = {member.kind for member in members} - {*get_args(MemberKind)}
            if strange or not members:
                raise ValueError(f"no such members: {listed(sorted(strange))}" if strange else "no members")
            pooled: Pooled = "logits" if data.get("pooled") == "logits" else "probabilities"
            how = (int(data["views"]), bool(data["mirrored"]), pooled, bool(data.get("far")))
            return cls(members, *how)
        except (AssertionError, AttributeError, LookupError, OverflowError, TypeError, ValueError) as error:
            raise UserError(f"predictor.json: does not say who answers ({error}).") from None


def equally(members: Sequence[tuple[MemberKind, str, int]], targets: Sequence[str]) -> tuple[Member, ...]:
    """Return members (kind, encoder, rows) that count alike.

    >>> equally([("heads", "network", 0), ("neighbours", "network", 90)], ["a"])[1].weights
    {'a': 0.5}
    """
    share = 1 / len(members)
    return tuple(
        Member(kind, encoder, dict.fromkeys(targets, share), rows) for kind, encoder, rows in members
    )

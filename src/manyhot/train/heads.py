"""Training the heads alone: the backbone sees every row once, and the loop then runs on what it gave.

`classifier.fit` calls `heads_alone` where `config.freeze` says so, and trains what it returns as it
would train anything else.

Shapes: N rows · F features.
"""

from __future__ import annotations

from dataclasses import replace

from torch import nn

from manyhot.model.backbones.base import Backbone
from manyhot.model.network import Model
from manyhot.predict import features
from manyhot.train.prepare import Prepared


def heads_alone(prepared: Prepared, model: Model) -> tuple[Prepared, Model]:
    """Return the rows as the features (N, F) that the model's backbone gives, and a model of its heads alone.

    The heads are the model's own, so that what they learn is in it already.
    """
    config = replace(
        prepared.config, augment="none", erasing=0.0, mixing=0.0, first_size=0, views=1, channels_last=False
    )
    width = model.backbone.num_features
    alone = Model(nn.Identity(), Backbone(nn.Dropout(config.dropout), width), prepared.schema.targets)
    alone.heads = model.heads
    return replace(prepared, config=config, x=features(model, prepared.x)), alone

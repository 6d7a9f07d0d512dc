"""A graph of pictures with its convolutions in whole numbers of 8 bits: a third of the size.

`writing` calls `quantised`. Only convolutions become int8: heads, neighbours and sets decide, and take little
room. Whether it answers faster depends on the processor; what it costs is for the caller to measure.

Source: Jacob et al. 2018, "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only
Inference"; static, per channel, by onnxruntime's own tools.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from manyhot import files
from manyhot.graph import INPUT
from manyhot.machine import cpu_flags

CALIBRATED = 200  # rows that say between which bounds the numbers within the network lie
TOGETHER = 16


def quantised(proto: Any, x: NDArray[Any]) -> Any:
    """Return a graph whose convolutions are int8, calibrated on x, uint8 (N, H, W, C).

    Where the processor lacks the instructions that add without overflow, weights take 7 bits.
    """
    import onnx
    from onnxruntime import quantization as q
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Rows(q.CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.batches: Iterator[NDArray[Any]] = iter(
                np.array_split(x, max(1, len(x) // TOGETHER)) if len(x) else []
            )

        def get_next(self) -> dict[str, Any] | None:
            batch = next(self.batches, None)
            return None if batch is None else {INPUT: batch}

    loggers = [logging.getLogger(), logging.getLogger("onnxruntime")]
    levels = [each.level for each in loggers]
    with files.writing(tempfile.gettempdir()), tempfile.TemporaryDirectory() as folder:
        plain, ready, small = (Path(folder, name) for name in ("plain.onnx", "ready.onnx", "small.onnx"))
        onnx.save(proto, plain)
        try:
            for each in loggers:  # its tools tell the root logger what they would like
                each.setLevel(logging.ERROR)
            quant_pre_process(plain, ready, skip_symbolic_shape=True)
            q.quantize_static(
                ready,
                small,
                Rows(),
                quant_format=q.QuantFormat.QDQ,
                op_types_to_quantize=["Conv"],
                activation_type=q.QuantType.QUInt8,
                weight_type=q.QuantType.QInt8,
                per_channel=True,
                reduce_range=not any("vnni" in flag for flag in cpu_flags()),
            )
        finally:
            for each, level in zip(loggers, levels, strict=True):
                each.setLevel(level)
        return onnx.load(small)

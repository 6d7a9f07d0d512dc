"""Why a model answers a row as it does: which pixels or columns spoke for the answer, and against it."""

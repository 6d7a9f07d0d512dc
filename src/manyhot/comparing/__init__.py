"""Two models on the same rows: which one answers better, where, and by more than chance."""

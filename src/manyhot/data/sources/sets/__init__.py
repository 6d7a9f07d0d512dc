"""Known data sets, a file each; `data.datasets` is the door to them."""

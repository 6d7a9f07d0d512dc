"""Groups where there are no labels: `cluster` finds them, `names` and `spread` make labels of them."""

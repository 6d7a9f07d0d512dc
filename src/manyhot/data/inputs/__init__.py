"""Columns into the arrays that a network reads, a file or a folder for each kind of input."""

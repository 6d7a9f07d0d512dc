"""A column of pictures into arrays."""

"""Files and objects into a Table, and back."""

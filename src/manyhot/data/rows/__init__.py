"""What a table's rows are: their schema, and their parts."""

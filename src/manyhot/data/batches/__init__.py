"""Rows into batches."""

"""From a table and a schema to a trained model: prepare → fit → calibrate."""

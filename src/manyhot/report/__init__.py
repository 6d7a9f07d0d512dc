"""The report: one page that shows what was read, how training went and how right the model is."""

"""From anything that holds rows to arrays: table → infer → split → images or features → loader."""

"""Finding what is wrong with labelled rows before they teach: `manyhot audit`."""

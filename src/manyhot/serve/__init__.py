"""Models behind HTTP: pictures and rows come in, answers go out. Nothing here needs torch."""

"""One module for each benchmark: `run()` measures, `ROWS` says what each figure is."""

"""Does a release of MLflow, under a Python, get whole traces? `python -m tests.matrix`."""

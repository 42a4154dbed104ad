"""Builds what a configuration asks for, starts it, serves the pages for operators, and stops it."""

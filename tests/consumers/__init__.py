"""The consumer matrix: every program that people read exported models with, run on ours, for a model of every family.

`python3 tests/run.py --consumers` makes the environments, runs this, and writes `docs/consumers.md`.
"""

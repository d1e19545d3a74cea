"""The oracle of the parity suite: cases, and the reference implementation's results for them.

`configs`, `cases` and `cache` are plain Python and run anywhere; `checkpoints`, `reference` and `worker` import TensorFlow and
the Object Detection API and run in the oracle environment, in processes of their own.
"""

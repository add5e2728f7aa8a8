"""From a model to its variants, and what interpreters say of them: each made once, then kept.

It orders conversions and measurements and owns their cache and child processes; it may import what
is below it: `measure`, `conversion`, `targets`, `tflite`, `samples`, `records` and the ground.
"""

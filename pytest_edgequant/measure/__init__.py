"""The measurements: arena, legality, flash, latency, evaluation and metrics, a folder or file each.

It may import `conversion`, `targets`, `tflite`, `samples`, `records` and the ground; where a
measurement is kept, and for whom it is made, is known above.
"""

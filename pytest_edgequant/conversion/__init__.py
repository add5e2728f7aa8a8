"""Making variants of a model: sources, converters, training, and checks of what came out.

It may import `targets`, `tflite`, `samples`, `records` and the ground; caches and the order of the
steps are the pipeline's.
"""

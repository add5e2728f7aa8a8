"""Reading and rewriting a .tflite: graph, operators, MACs, fingerprint, and one rewrite a file.

It may import `samples`, `records` and the ground; it knows neither targets nor TensorFlow.
"""

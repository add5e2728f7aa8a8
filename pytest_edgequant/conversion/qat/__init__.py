"""Quantization-aware training.

The converter's int8 model is the template: which tensors are quantized, which operators are fused,
which tensors share a scale. `plan` reads it together with the float model's weights, `simulation`
computes it with fake quantization, `training` trains the weights, `rewrite` writes weights and
ranges back. What is trained is thus the graph that runs, operator by operator.
"""

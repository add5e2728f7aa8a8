"""What users give as data: inputs, streams of samples, and values as a tensor stores them.

It may import `records` and the ground; what samples are used for is known above.
"""

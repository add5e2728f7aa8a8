"""What a test asserts: the verdict on each figure, recorded first and raised then.

It may import `diagnose`, `api` and all below; what renders a verdict stands above it.
"""

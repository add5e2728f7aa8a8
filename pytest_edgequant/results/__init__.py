"""What a run recorded, test by test and as one, and documents read back.

It may import `pipeline`, the crafts and the ground; it knows neither pytest nor a report's format.
"""

"""What the edge-gate action does, step by step.

Standard library only, Python 3.10 and up: the job that comments on pull requests installs nothing
and runs nothing of the repository that it reports on.
"""

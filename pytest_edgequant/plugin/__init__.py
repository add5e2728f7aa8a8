"""What knows pytest: options, hooks, fixtures, what a run hands out and how it ends.

It may import all rooms but `cli`; `hooks` loads them when a test uses the plugin, so that an idle
plugin costs nothing.
"""
